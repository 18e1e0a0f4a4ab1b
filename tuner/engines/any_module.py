"""`engine:any`: a torch module in the best of the libraries that are installed, which is a parameter like others."""

from __future__ import annotations

from tuner.engines.module.tunable import ModuleTunable

__all__ = ["ENGINE"]

ENGINE = ModuleTunable("any")
"""What `engine:any` names."""
