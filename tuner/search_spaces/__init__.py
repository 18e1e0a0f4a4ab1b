"""Search spaces: parameters, constraints between them, and exact answers about the configs these allow.

What lives here is pure: numpy and the standard library over `tuner.types`, no device, no kernel, no agent, no file.
What does not: how configs are chosen (`tuner.agents`) or measured (`tuner.runners`).
"""

from __future__ import annotations

from tuner.search_spaces.constraint import Constraint
from tuner.search_spaces.expression import Expression
from tuner.search_spaces.parameter import Parameter
from tuner.search_spaces.space import SearchSpace

__all__ = ["Constraint", "Expression", "Parameter", "SearchSpace"]
