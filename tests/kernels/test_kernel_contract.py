from __future__ import annotations

from tuner.testing.toys import PARABOLA
from tuner.testing.tunable import TunableContract
from tuner.tunable import Tunable, load


class TestAddRmsnorm(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:add_rmsnorm")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 3, "N": 512}


class TestDecodeAttention(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:decode_attention")

    def workload_fields(self) -> dict[str, int | str]:
        return {"B": 1, "HQ": 4, "HKV": 2, "S": 100, "D": 64}


class TestInt8Gemv(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:int8_gemv")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 2, "N": 70, "K": 256}


class TestOwnKernel(TunableContract):
    def tunable(self) -> Tunable:
        return load("examples/scaled_add.py:KERNEL")

    def workload_fields(self) -> dict[str, int | str]:
        return {"N": 1024}


class TestParabola(TunableContract):
    def tunable(self) -> Tunable:
        return PARABOLA

    def workload_fields(self) -> dict[str, int | str]:
        return {"N": 3}
