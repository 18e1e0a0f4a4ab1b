from __future__ import annotations

import pytest

from tuner.devices import detect_cpu
from tuner.errors import WorkloadError
from tuner.kernels.option import without_options
from tuner.kernels.softmax.cpp import KERNEL
from tuner.types import Scalar, Workload

PLAIN: dict[str, Scalar] = {"M": 3, "N": 64}


def test_options_are_absent_unless_given() -> None:
    assert KERNEL.workload(PLAIN) == Workload(M=3, N=64)
    assert KERNEL.workload({**PLAIN, "cache": "warm"}) == Workload(M=3, N=64)
    given = {**PLAIN, "cache": "cold", "rel_error": 1e-2}
    assert KERNEL.workload(given) == Workload(M=3, N=64, cache="cold", rel_error=0.01)
    # A checked workload checks again to itself: stored ones are.
    assert KERNEL.workload(KERNEL.workload(given)) == KERNEL.workload(given)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"cache": "hot"}, "cache='hot' is not taken; choose one of warm, cold"),
        ({"cache": True}, "cache=True is not taken"),
        ({"rel_error": 1}, "rel_error=1 is not a number between 0 and 1"),
        ({"rel_error": 0}, "rel_error=0 is not a number between 0 and 1"),
        ({"rel_error": 1.0}, r"rel_error=1\.0 is not a number between 0 and 1"),
        ({"rel_error": -0.5}, "rel_error=-0.5 is not a number between 0 and 1"),
        ({"rel_error": True}, "rel_error=True is not a number between 0 and 1"),
        ({"rel_error": "1e-2"}, "rel_error='1e-2' is not a number between 0 and 1"),
        ({"rel_err": 0.1}, "softmax has no workload field 'rel_err'; it has: M, N, and takes cache and rel_error"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(field: dict[str, Scalar], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        KERNEL.workload({**PLAIN, **field})


def test_no_kernel_sees_them() -> None:
    device = detect_cpu()
    plain = KERNEL.workload(PLAIN)
    given = KERNEL.workload({**PLAIN, "cache": "cold", "rel_error": 1e-2})
    assert without_options(given) == plain
    config = KERNEL.default(plain, device)
    assert KERNEL.build_key(config, given, device) == KERNEL.build_key(config, plain, device)
    assert KERNEL.build(config, given, device).key == KERNEL.build(config, plain, device).key
