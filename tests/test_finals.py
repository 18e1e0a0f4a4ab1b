from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from tuner.devices import detect
from tuner.edges import Edges
from tuner.errors import TunerError
from tuner.finals import Contest, Finals, play
from tuner.objective import Limit, Objective
from tuner.runners import Activity, Runner
from tuner.statistics import log_ratios, paired_interval
from tuner.types import Config, Measurement, Sampling, Status, Task, Trial, Workload

TASK = Task("tuner.testing.toys:PARABOLA", "1", Workload(N=1), detect("cpu"))
DEFAULT = Config(X=0)


class Table:
    """Measures each config as its true time with noise."""

    capacity = 1
    activity = Activity()

    def __init__(self, seconds: Callable[[Config], float], noise: float = 0.02) -> None:
        self._seconds = seconds
        self._noise = noise
        self.calls: list[tuple[list[Config], Sampling]] = []

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        raise NotImplementedError

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        self.calls.append((list(configs), sampling))
        rng = np.random.default_rng(sampling.seed)
        future: Future[list[Measurement]] = Future()
        times = {c: self._seconds(c) * np.exp(rng.normal(0, self._noise, sampling.rounds)) for c in configs}
        if any(np.isnan(times[c]).any() for c in configs[1:]):
            future.set_result([Measurement(Status.RUNTIME, error="asked to crash") for _ in configs])
            return future
        reference = tuple(times[configs[0]].tolist())
        future.set_result(
            [
                Measurement(
                    Status.CORRECT, {"seconds": tuple(times[c].tolist()), "reference_seconds": reference}, 0, 1.0
                )
                for c in configs
            ]
        )
        return future

    def close(self) -> None:
        pass


def contest(rules: Finals = Finals(), seed: int = 0, objective: Objective = Objective()) -> Contest:
    return Contest(TASK, DEFAULT, objective, rules, seed)


def trials(*scores: float) -> list[Trial]:
    return [
        Trial(Config(X=x), Measurement(Status.CORRECT, {"seconds": (score,), "reference_seconds": (1.0,)}), "c", x)
        for x, score in enumerate(scores)
    ]


def test_a_config_that_is_really_faster_is_promoted_with_the_measured_ratio() -> None:
    table = Table(lambda c: 1.0 if c == DEFAULT else 0.8)
    verdict = play(table, contest(), trials(1.0, 0.7))
    assert verdict.promoted
    assert verdict.evidence is not None
    assert verdict.evidence.speedup == pytest.approx(1.25, rel=0.02)
    assert verdict.evidence.interval[0] < 1.25 < verdict.evidence.interval[1]


def test_a_config_that_was_only_lucky_is_not() -> None:
    """The search measured it twice as fast; in truth it is as fast as the default."""
    promoted = 0
    for seed in range(100):
        table = Table(lambda _: 1.0)
        promoted += play(table, contest(seed=seed), trials(1.0, 0.5)).promoted
    assert promoted <= 3


def test_the_semifinal_corrects_the_order_of_the_search() -> None:
    truth = {Config(X=1): 0.9, Config(X=2): 0.5, Config(X=3): 0.8}
    table = Table(lambda c: truth.get(c, 1.0))
    verdict = play(table, contest(), trials(1.0, 0.2, 0.6, 0.3))
    assert verdict.config == Config(X=2)


def test_only_the_best_few_play_on_inputs_of_their_own() -> None:
    table = Table(lambda _: 1.0)
    play(table, contest(Finals(finalists=3)), trials(*np.linspace(1.0, 0.5, 20)))
    (semifinal, first), (final, second) = table.calls
    assert semifinal == [DEFAULT, Config(X=19), Config(X=18), Config(X=17)]
    assert len(final) == 2
    assert first.seed != second.seed
    assert (first.rounds, second.rounds) == (60, 150)


def test_a_finalist_that_crashes_spoils_only_its_own_chance() -> None:
    table = Table(lambda c: float("nan") if c == Config(X=1) else 0.5 if c == Config(X=2) else 1.0)
    verdict = play(table, contest(), trials(1.0, 0.1, 0.5))
    assert verdict.config == Config(X=2)
    assert verdict.promoted
    assert verdict.rejected == {Config(X=1): "runtime: asked to crash"}


def test_without_a_finalist_there_is_no_evidence() -> None:
    failed = [Trial(Config(X=1), Measurement(Status.COMPILE, error="no"), "c", 1)]
    verdict = play(Table(lambda _: 1.0), contest(), [*trials(1.0), *failed])
    assert (verdict.config, verdict.evidence, verdict.promoted) == (None, None, False)


def test_an_incumbent_plays_whatever_the_search_says() -> None:
    truth = {Config(X=1): 0.8, Config(X=7): 0.5}
    verdict = play(Table(lambda c: truth.get(c, 1.0)), contest(), trials(1.0, 0.7), [Config(X=7)])
    assert verdict.config == Config(X=7)


def test_a_finalist_without_its_pair_is_out() -> None:
    class Unpaired(Table):
        def compare(
            self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
        ) -> Future[list[Measurement]]:
            future: Future[list[Measurement]] = Future()
            future.set_result([Measurement(Status.CORRECT, {"seconds": (1e-9,)}) for _ in configs])
            return future

    assert play(Unpaired(lambda _: 1.0), contest(), trials(1.0, 0.5)).config is None


def test_a_finalist_that_breaks_a_limit_is_out() -> None:
    objective = Objective(limits=(Limit("seconds", 0.7),))
    table = Table(lambda c: 0.5 if c == Config(X=2) else 0.9)
    verdict = play(table, contest(objective=objective), trials(1.0, 0.1, 0.2))
    assert verdict.config == Config(X=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"finalists": 2.5},
        {"rounds": 0},
        {"confidence": 2.0},
        {"threshold": -1.0},
        {"seconds": 0.0},
    ],
)
def test_bad_rules_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TunerError, match=next(iter(wrong))):
        Finals(**wrong)


def test_rounds_that_can_show_nothing_are_refused() -> None:
    with pytest.raises(TunerError, match=r"rounds=12 show nothing at confidence=0\.99; give at least 13"):
        Finals(rounds=12).require_decidable()
    Finals(rounds=13).require_decidable()


def test_loads_that_can_show_nothing_are_refused() -> None:
    with pytest.raises(TunerError, match=r"loads=7 show nothing at confidence=0\.99; give at least 8"):
        Finals(loads=7).require_decidable()
    Finals(loads=8).require_decidable()


class Placed(Table):
    """Measures every config alike, but where a program lies in memory makes it slower for a whole load."""

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        rng = np.random.default_rng(sampling.seed)
        loads = np.repeat(np.arange(sampling.loads), -(-sampling.rounds // sampling.loads))
        sides = [
            np.exp(0.02 * rng.integers(0, 2, sampling.loads)[loads] + rng.normal(0, 0.002, len(loads)))
            for _ in range(2)
        ]
        samples = {"seconds": sides[0].tolist(), "reference_seconds": sides[1].tolist(), "load": loads.tolist()}
        future: Future[list[Measurement]] = Future()
        future.set_result([Measurement(Status.CORRECT, {k: tuple(v) for k, v in samples.items()})] * len(configs))
        return future


def test_luck_of_place_promotes_nothing() -> None:
    """Two copies of one program differ by 2 % in half of their loads, for every pair of the load."""
    verdicts = [play(Placed(lambda _: 1.0), contest(seed=seed), trials(1.0, 0.5)) for seed in range(100)]
    assert sum(verdict.promoted for verdict in verdicts) <= 2
    assert all(v.evidence and v.evidence.interval[0] <= 1.0 <= v.evidence.interval[1] for v in verdicts[:10])


def test_one_load_cannot_tell_luck_of_place_from_speed() -> None:
    """What loads are for: in one place, one of two equal programs is clearly faster every other time."""
    lucky = 0
    for seed in range(100):
        [_, result] = Placed(lambda _: 1.0).compare(TASK, [DEFAULT, DEFAULT], Sampling(seed, 150)).result()
        logs = log_ratios(result.samples["reference_seconds"], result.samples["seconds"]).tolist()
        lucky += paired_interval(logs, None, 0.01).low > 0
    assert lucky > 10


def test_the_searchs_estimate_stands_beside_what_was_proven() -> None:
    verdict = play(Table(lambda c: 1.0 if c == DEFAULT else 0.8), contest(), trials(1.0, 0.5))
    assert verdict.evidence is not None
    assert verdict.evidence.estimate == 2.0
    assert verdict.evidence.speedup == pytest.approx(1.25, rel=0.02)
    assert verdict.evidence.sign_p is not None
    assert verdict.evidence.sign_p < 1e-6


def test_finals_check_everything_and_end_when_it_is_known() -> None:
    table = Table(lambda _: 1.0)
    play(table, contest(Finals(threshold=1.25, precision=0.01)), trials(1.0, 0.9, 0.8))
    for _, sampling in table.calls:
        assert sampling.thorough
        assert sampling.precision == 0.01
        assert sampling.error == pytest.approx(0.01)
    # In the semifinal losers drop out; the final goes on until it has an interval.
    assert [sampling.incumbent for _, sampling in table.calls] == [0.8, None]


def test_the_next_best_plays_for_a_finalist_that_is_out() -> None:
    table = Table(lambda c: float("nan") if c.integer("X") >= 3 else 0.5 if c == Config(X=1) else 1.0)
    verdict = play(table, contest(Finals(finalists=2)), trials(1.0, 0.9, 0.8, 0.4, 0.3, 0.2))
    assert verdict.config == Config(X=1)
    assert verdict.promoted
    assert set(verdict.rejected) == {Config(X=3), Config(X=4), Config(X=5)}


def test_finals_end_where_the_default_itself_is_wrong_on_their_inputs() -> None:
    class Wrong(Table):
        def compare(
            self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
        ) -> Future[list[Measurement]]:
            self.calls.append((list(configs), sampling))
            future: Future[list[Measurement]] = Future()
            bad = Measurement(Status.CORRECTNESS, error="values are wrong")
            future.set_result([bad if c == DEFAULT else Measurement(Status.CORRECT) for c in configs])
            return future

    table = Wrong(lambda _: 1.0)
    verdict = play(table, contest(), trials(*[1.0] * 40))
    assert len(table.calls) == 1
    assert not verdict.promoted
    assert verdict.rejected == {DEFAULT: "correctness: values are wrong"}


def test_finals_do_not_try_a_whole_search_that_was_wrong() -> None:
    table = Table(lambda c: 1.0 if c == DEFAULT else float("nan"))
    verdict = play(table, contest(Finals(finalists=3)), trials(*[1.0] * 60))
    assert verdict.config is None
    assert len(verdict.rejected) == 9


def test_a_finalist_that_is_wrong_on_edge_shapes_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def edges(_: Runner, __: Task, config: Config, ___: int) -> Edges:
        checked = (Workload(N=4), Workload(N=5))
        return Edges(checked[:1], "N=4: correctness") if config == Config(X=1) else Edges(checked)

    monkeypatch.setattr("tuner.finals.checked_edges", edges)
    verdict = play(Table(lambda c: {1: 0.5, 2: 0.8}.get(c.integer("X"), 1.0)), contest(), trials(1.0, 0.1, 0.5))
    assert verdict.config == Config(X=2)
    assert verdict.evidence is not None
    assert verdict.evidence.edge_shapes == (Workload(N=4), Workload(N=5))
    assert set(verdict.evidence.seeds) == {"semifinal", "final", "edges"}
    assert len(set(verdict.evidence.seeds.values())) == 2
    assert verdict.rejected == {Config(X=1): "on the edge shape N=4: correctness"}
