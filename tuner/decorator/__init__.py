"""`tuner.autotune`: a function or a Triton kernel that runs with the config that a lookup answers.

The folder is not called `autotune`, since a module of that name would hide the function. Importing it takes nothing but
the standard library: what tunes in place is found by reference, and Triton is the caller's.
"""

from __future__ import annotations

from tuner.decorator.autotune import Mode, autotune
from tuner.decorator.hook import Hooks
from tuner.decorator.tuned import TunedFunction, TunedKernel

__all__ = ["Hooks", "Mode", "TunedFunction", "TunedKernel", "autotune"]
