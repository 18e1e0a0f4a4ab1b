"""What a tunable says to try first is tried right after the default, and then what helped together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tuner.devices import detect
from tuner.engines.module.option import Problem, parameters
from tuner.engines.torch_module import ENGINE as TORCH
from tuner.objective import Objective
from tuner.opening import Opening
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.testing.toys import Parabola
from tuner.tunable import Hinting
from tuner.types import Config, Device, Measurement, Status, Trial, Workload


class Hinted(Parabola):
    """Four parameters, of which two do not go together."""

    def search_space(self, workload: Workload, device: Device) -> SearchSpace:
        names = ("A", "B", "C", "D")
        return SearchSpace([Parameter(name, (0, 1, 2)) for name in names], [Constraint.parse("A == 0 or B == 0")])

    def default(self, workload: Workload, device: Device) -> Config:
        return Config(A=0, B=0, C=0, D=0)

    def first_tries(self, workload: Workload, device: Device) -> Sequence[Config]:
        return [Config({**self.default(workload, device), name: 1}) for name in ("A", "B", "C", "D", "E")]


HINTED = Hinted()
WORKLOAD = HINTED.workload({"N": 9})


def opening_of(objective: Objective) -> Opening:
    device = detect()
    space, default = HINTED.search_space(WORKLOAD, device), HINTED.default(WORKLOAD, device)
    return Opening(space, default, HINTED.first_tries(WORKLOAD, device), objective)


def trial(number: int, config: Config, seconds: float) -> Trial:
    status = Status.CORRECT if seconds else Status.RUNTIME
    return Trial(config, Measurement(status, {"seconds": (seconds,)} if seconds else {}), "", number)


def played(opening: Opening, seconds: Mapping[str, float]) -> list[Config]:
    """Return what is proposed where each change takes so long, the default one second."""
    default = HINTED.default(WORKLOAD, detect())
    known, trials = {default}, [trial(0, default, 1.0)]
    proposed = []
    while (config := opening.propose(known, trials)) is not None:
        known.add(config)
        proposed.append(config)
        changed = next(name for name in config if config[name])
        trials.append(trial(len(trials), config, seconds[changed]))
    return proposed


def test_changes_that_helped_are_tried_together_the_best_first() -> None:
    opening = opening_of(Objective())
    *single, together = played(opening, {"A": 0.9, "B": 0.5, "C": 0.8, "D": 1.2})
    assert [dict(one) for one in single] == [{**dict.fromkeys("ABCD", 0), name: 1} for name in "ABCD"]
    # A does not go with B, which is better; D does not help.
    assert together == Config(A=0, B=1, C=1, D=0)


@pytest.mark.parametrize(
    "seconds", [{"A": 2.0, "B": 2.0, "C": 0.8, "D": 0.0}, {"A": 0.9, "B": 0.5, "C": 2.0, "D": 2.0}]
)
def test_one_change_that_helped_is_not_tried_again(seconds: Mapping[str, float]) -> None:
    assert len(played(opening_of(Objective()), seconds)) == 4


def test_a_trial_that_was_measured_beside_the_default_is_not_compared_with_it_again() -> None:
    """The default's own trial, alone, was measured while the machine was idle."""
    default, *tries = [HINTED.default(WORKLOAD, detect()), *HINTED.first_tries(WORKLOAD, detect())[:4]]
    told = [trial(0, default, 0.1)]
    for number, config in enumerate(tries, start=1):
        samples = {"seconds": (0.4 + 0.1 * number,), "reference_seconds": (1.0,)}
        told.append(Trial(config, Measurement(Status.CORRECT, samples), "", number))
    opening = opening_of(Objective())
    assert opening.propose({default, *tries}, told) == Config(A=1, B=0, C=1, D=1)


def test_nothing_is_joined_before_all_is_told_nor_for_several_objectives() -> None:
    default, *tries = [HINTED.default(WORKLOAD, detect()), *HINTED.first_tries(WORKLOAD, detect())[:4]]
    told = [trial(i, config, 1.0 - 0.1 * i) for i, config in enumerate([default, *tries])]
    opening = opening_of(Objective())
    assert opening.propose({default, *tries}, told[:-1]) is None
    assert opening.propose({default, *tries}, told) is not None
    two = Objective(beside=(Objective("joules"),))
    assert opening_of(two).propose({default, *tries}, told) is None


def test_an_engine_tries_what_needs_no_restart_first_and_nothing_that_its_space_lacks() -> None:
    assert isinstance(TORCH, Hinting)
    workload = TORCH.workload({"model": "decoder-tiny"})
    default, space = TORCH.default(workload, detect()), TORCH.search_space(workload, detect())
    tries = TORCH.first_tries(workload, detect())
    changes = [{name: value for name, value in one.items() if value != default[name]} for one in tries]
    assert changes[0] == {"BATCH": 16}
    assert {"QUANTIZE": "dynamic_int8"} in changes
    assert ({"DTYPE": "bf16"} in changes) == ("bf16_dot" in detect().features or "amx" in detect().features)
    assert all(len(one) == 1 for one in changes)
    assert all(space.contains(one) for one in tries)


def test_values_that_are_tried_first_are_values_of_their_parameters() -> None:
    problem = Problem(items=16, batch=4, convolutions=True, attention=True)
    for one in parameters(("torch", "onnx", "openvino"), problem, detect()):
        assert set(one.first) <= set(one.parameter.values), one.name
