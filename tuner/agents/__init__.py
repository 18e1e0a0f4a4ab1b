"""What proposes configs: one module an agent, all behind `ask(count)` and `tell(trials)`.

An agent sees a space, an objective, and trials. It never sees a store, a runner or a kernel.
"""

from tuner.agents.base import Agent, Source, agent_class, create_agent, installed_agents, lasting_name

__all__ = ["Agent", "Source", "agent_class", "create_agent", "installed_agents", "lasting_name"]
