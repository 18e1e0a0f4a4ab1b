"""`engine:openvino`: a torch module in OpenVINO."""

from __future__ import annotations

from tuner.engines.module.tunable import ModuleTunable

__all__ = ["ENGINE"]

ENGINE = ModuleTunable("openvino", ("openvino",))
"""What `engine:openvino` names."""
