"""`engine:onnx`: a torch module in ONNX Runtime."""

from __future__ import annotations

from tuner.engines.module.tunable import ModuleTunable

__all__ = ["ENGINE"]

ENGINE = ModuleTunable("onnx", ("onnx",))
"""What `engine:onnx` names."""
