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


class TestFlashPrefill(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:flash_prefill")

    def workload_fields(self) -> dict[str, int | str]:
        return {"B": 1, "HQ": 4, "HKV": 2, "S": 100, "D": 64}


class TestInt8Gemv(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:int8_gemv")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 2, "N": 70, "K": 256}


class TestLayernorm(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:layernorm")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 5, "N": 320}


class TestSgemm(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:sgemm")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 50, "N": 112, "K": 100, "epilogue": "bias_gelu"}


class TestSkinnyGemm(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:skinny_gemm")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 3, "N": 70, "K": 256}


class TestSoftmax(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:softmax")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 3, "N": 2624}


class TestSwiglu(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:swiglu")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 3, "N": 320}


class TestTranspose(TunableContract):
    def tunable(self) -> Tunable:
        return load("cpp:transpose")

    def workload_fields(self) -> dict[str, int | str]:
        return {"M": 80, "N": 112}


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
