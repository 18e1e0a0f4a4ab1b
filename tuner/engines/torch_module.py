"""`engine:torch`: a torch module in torch itself, which needs no server."""

from __future__ import annotations

from tuner.engines.module.tunable import ModuleTunable

__all__ = ["ENGINE"]

ENGINE = ModuleTunable("torch", ("torch",))
"""What `engine:torch` names."""
