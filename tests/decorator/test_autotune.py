from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuner
from tests.lookup.proofs import GPU, proof
from tuner.db import MemoryStore
from tuner.db.sql import SqlStore
from tuner.decorator import TunedFunction, TunedKernel
from tuner.decorator.in_place import gpu_clock, wall_seconds
from tuner.decorator.prune import Pruning
from tuner.decorator.timing import Timing
from tuner.devices import detect
from tuner.errors import TunerError
from tuner.lookup import Lookup, Rules, Source, snapshot_of, write_snapshot
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, State, Status

triton = pytest.importorskip("triton", reason="pip install 'rltuner[triton]'")

CONFIGS = [triton.Config({"BLOCK": size}, num_warps=warps) for size, warps in ((64, 4), (128, 4), (256, 8))]


class Kernel:
    """A `triton.jit` function whose launches are kept."""

    arg_names = ("x_ptr", "y_ptr", "M", "N", "BLOCK")
    __name__ = "kernel"

    def __init__(self) -> None:
        def kernel(x_ptr: Any, y_ptr: Any, M: int, N: int, BLOCK: int) -> None: ...

        self.fn = kernel
        self.launched: list[dict[str, Any]] = []
        self.warmed: list[dict[str, Any]] = []

    def run(self, *args: Any, **kwargs: Any) -> str:
        self.launched.append({"args": args, **kwargs})
        return "launched"

    def warmup(self, *args: Any, **kwargs: Any) -> None:
        self.warmed.append({"args": args, **kwargs})


X = np.zeros(4, dtype="float16")
Y = np.zeros(4, dtype="float32")
FIELDS: dict[str, Any] = {"x_ptr.dtype": "fp16", "y_ptr.dtype": "fp32", "M": 16, "N": 4096}


@pytest.fixture
def winners(tmp_path: Path) -> Path:
    path = tmp_path / "winners.json"
    config = Config(BLOCK=128, num_warps=4, num_stages=3)
    name = f"{__name__}:Kernel.__init__.<locals>.kernel"
    write_snapshot(path, snapshot_of([_with(proof(1, kernel=name, version="", **FIELDS), config)]))
    return path


def _with(one: Any, config: Config) -> Any:
    from dataclasses import replace

    return replace(one, config=config)


def test_a_list_of_triton_configs_is_a_drop_in(winners: Path) -> None:
    kernel = Kernel()
    tuned = tuner.autotune(CONFIGS, key=["M", "N"], store=winners, device=GPU)(kernel)
    assert isinstance(tuned, TunedKernel)
    for m, block in ((16, 64), (17, 64)):  # the snapshot's version is another: not valid, were it not among the configs
        assert tuned[(8,)](X, Y, m, 4096) == "launched"
        del block
    first, second = kernel.launched
    assert first["grid"] == (8,)
    assert first["warmup"] is False
    assert (first["BLOCK"], first["num_warps"], first["num_stages"]) == (128, 4, 3)
    assert tuned.choice(X, Y, 16, 4096).source is Source.EXACT_STALE
    assert tuned.choice(X, Y, 17, 4096).source is Source.NEAREST_STALE
    assert (second["BLOCK"], second["num_warps"]) == (128, 4)
    assert tuned.choice(Y, Y, 16, 4096).source is Source.DEFAULT
    tuned[(8,)](Y, Y, M=16, N=4096)
    assert (kernel.launched[-1]["BLOCK"], kernel.launched[-1]["args"][0] is Y) == (64, True)
    tuned.warmup(X, Y, 16, 4096, grid=(1,))
    assert kernel.warmed[0]["BLOCK"] == 128
    misses = tuned.setting.lookup.misses()
    assert {tuple(miss.workload.items()) for miss in misses} >= {tuple({**FIELDS, "M": 17}.items())}


def test_the_same_launches_as_triton_s_own(winners: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both know the same config, the kernel is launched with the same arguments."""
    ours, theirs = Kernel(), Kernel()
    tuned = tuner.autotune(configs=CONFIGS, key=["M", "N"], store=winners, device=GPU)(ours)
    from triton.runtime.autotuner import Autotuner

    autotuner = Autotuner(theirs, theirs.arg_names, CONFIGS, ["M", "N"], None, None)
    autotuner.cache[(16, 4096, "float16", "float32")] = CONFIGS[1]
    tuned[(8, 2)](X, Y, 16, 4096)
    autotuner[(8, 2)](X, Y, 16, 4096)
    [launched], [expected] = ours.launched, theirs.launched
    expected.pop("num_ctas")  # 1 says nothing
    assert launched == expected


def test_a_config_s_own_hook_is_called_before_a_launch(winners: Path) -> None:
    seen: list[dict[str, Any]] = []
    hooked = [triton.Config({"BLOCK": 128}, num_warps=4, pre_hook=seen.append), *CONFIGS]
    kernel = Kernel()
    tuner.autotune(hooked, key=["M", "N"], store=winners, device=GPU)(kernel)[(1,)](X, Y, 16, 4096)
    assert (seen[0]["BLOCK"], seen[0]["M"], seen[0]["x_ptr"] is X) == (128, 16, True)


def test_modes(winners: Path) -> None:
    kernel = Kernel()
    off = tuner.autotune(CONFIGS, key=["M", "N"], store=winners, device=GPU, mode="off")(kernel)
    off[(1,)](X, Y, 16, 4096)
    assert kernel.launched[0]["BLOCK"] == 64
    assert off.setting._lookup is None
    with pytest.raises(TunerError, match="needs a store to keep winners in"):
        tuner.autotune(CONFIGS, key=["M"], store=winners, device=GPU, mode="tune")(kernel)[(1,)](X, Y, 16, 4096)
    tune = tuner.autotune(CONFIGS, key=["M"], store=MemoryStore(), device=GPU, mode="tune")(kernel)
    with pytest.raises(TunerError, match="needs a GPU, and there is none here"):
        tune[(1,)](X, Y, 16, 4096)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"space": []}, "no config to choose"),
        ({"space": {"A": []}}, "no config to choose"),
        ({"space": 3}, "is no search space"),
        ({"space": [3]}, "neither a mapping nor a triton.Config"),
        ({}, "either space or configs"),
        ({"space": {"A": [1]}, "configs": CONFIGS}, "either space or configs"),
        ({"space": {"A": [1]}, "mode": "fast"}, "mode='fast' is none of lookup, tune, off"),
        ({"space": {"A": [1]}, "key": ["m"]}, "key names m; the function's arguments are n"),
        ({"space": {"A": [1]}, "key": "n"}, r"give a list of names"),
        ({"space": {"A": [1]}, "prune_configs_by": {"top": 3}}, "prune_configs_by has top; its parts are early_config"),
        ({"space": {"A": [1]}, "prune_configs_by": {"top_k": 3}}, "give perf_model"),
        ({"space": {"A": [1]}, "prune_configs_by": {"perf_model": len, "top_k": 1.5}}, r"top_k=1.5 .* up to 1.0"),
        ({"space": {"A": [1]}, "prune_configs_by": {"perf_model": 3}}, "perf_model=3 of prune_configs_by"),
        ({"space": {"A": [1]}, "key": ["n"], "rep": 5}, "a plain function is timed by the wall clock"),
        ({"space": {"A": [1]}, "key": ["n"], "use_cuda_graph": True}, "use_cuda_graph: these are of Triton's"),
    ],
)
def test_mistakes_are_told_when_decorating(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(TunerError, match=reason):
        tuner.autotune(**options)(lambda n: n)


SLEEPS = {"slow": 0.002, "fast": 0.0005, "wrong": 0.0, "failing": 0.0}


def work(n: int, how: str = "slow", offset: float = 0.0) -> Any:
    """Return an array, more or less quickly."""
    time.sleep(SLEEPS[how])
    if how == "failing":
        raise RuntimeError("asked to fail")
    return np.full(n, 2.0 if how == "wrong" else 1.0) + offset


def test_a_plain_callable_is_tuned_at_its_first_call_and_stored(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tuner.db"
    SqlStore(url).close()
    decorate = tuner.autotune({"how": list(SLEEPS)}, key=["n"], store=url, mode="tune", trials=10)
    tuned = decorate(work)
    assert isinstance(tuned, TunedFunction)
    assert (tuned.__doc__, tuned.setting.name) == (work.__doc__, f"{__name__}:work")
    assert tuned(8).tolist() == [1.0] * 8
    assert tuned.choice(8).source is Source.EXACT
    assert tuned.choice(8).config == Config(how="fast")
    store = SqlStore(url)
    [winner] = store.winners()
    trials = {trial.config["how"]: trial.measurement.status for trial in store.trials(winner.campaign, winner.task)}
    store.close()
    assert trials == {
        "slow": Status.CORRECT, "fast": Status.CORRECT, "wrong": Status.CORRECTNESS, "failing": Status.RUNTIME
    }  # fmt: skip
    assert 1 < winner.evidence.interval[0] < winner.evidence.speedup
    assert winner.state is State.PROMOTED
    # A server looks the same winner up, and never measures.
    served = tuner.autotune({"how": list(SLEEPS)}, key=["n"], store=url)(work)
    served.prepare()
    assert served.choice(8).source is Source.EXACT
    assert served.choice(9).source is Source.NEAREST


def test_a_config_that_is_quarantined_is_not_served_after_tuning_in_place() -> None:
    store = MemoryStore()
    decorate = tuner.autotune({"how": ["slow", "fast"]}, key=["n"], store=store, mode="tune", trials=10)
    decorate(work)(8)
    [winner] = store.winners()
    store.quarantine(winner.id, "wrong on the canary")
    again = decorate(work)
    assert again(8).tolist() == [1.0] * 8
    assert (again.choice(8).source, again.choice(8).config) == (Source.DEFAULT, Config(how="slow"))
    assert store.winners() == []


def test_a_default_that_nothing_beats_is_kept_and_not_tuned_again() -> None:
    calls: list[str] = []

    def same(n: int, how: str) -> int:
        calls.append(how)
        return n

    store = MemoryStore()
    tuned = tuner.autotune([{"how": "a"}, {"how": "b"}], key=["n"], store=store, mode="tune")(same)
    assert tuned(3) == 3
    assert (tuned.choice(3).source, tuned.choice(3).config["how"]) in {(Source.DEFAULT, "a"), (Source.EXACT, "b")}
    before = len(calls)
    assert tuned(3) == 3
    assert len(calls) == before + 1


def test_threads_that_call_at_once_tune_once() -> None:
    store = MemoryStore()
    tuned = tuner.autotune({"how": ["slow", "fast"]}, key=["n"], store=store, mode="tune")(work)
    threads = [threading.Thread(target=tuned, args=(4,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.campaigns()) == 1


def test_a_default_that_fails_is_told() -> None:
    tuned = tuner.autotune([{"how": "failing"}, {"how": "fast"}], key=["n"], store=MemoryStore(), mode="tune")(work)
    with pytest.raises(TunerError, match="fails with its default"):
        tuned(4)


def test_arguments_are_put_back_after_calls_that_measure() -> None:
    torch = pytest.importorskip("torch")
    total = torch.zeros(4)
    scratch = torch.ones(4)

    def add(x: Any, out: Any, seen: Any, n: int, step: int) -> None:
        assert not seen.any()
        out += step
        seen += 1

    options: dict[str, Any] = {"restore_value": ["out"], "reset_to_zero": ["seen"], "mode": "tune"}
    tuned = tuner.autotune({"step": [1, 2]}, key=["n"], store=MemoryStore(), **options)(add)
    tuned.choice(None, total, scratch, 4)
    assert total.tolist() == [0.0] * 4


def test_a_config_that_leaves_a_wrong_result_in_its_arguments_does_not_win() -> None:
    inputs, out = np.arange(4.0), np.full(4, -1.0)

    def double(x: Any, out: Any, n: int, how: str) -> None:
        if how == "partial":
            out[:2] = 2 * x[:2]
        else:
            time.sleep(1e-3 if how == "right" else 0)
            np.multiply(x, 2, out=out)

    choices = [{"how": how} for how in ("right", "partial", "quick")]
    store = MemoryStore()
    tuned = tuner.autotune(choices, key=["n"], store=store, mode="tune")(double)
    assert tuned.choice(inputs, out, 4).config == Config(how="quick")
    assert out.tolist() == [-1.0] * 4, "arguments hold what they held before"
    [winner] = store.winners()
    statuses = {trial.config["how"]: trial.measurement for trial in store.trials(winner.campaign, winner.task)}
    assert statuses["partial"].status is Status.CORRECTNESS
    assert "leaves another result" in statuses["partial"].error


def test_a_kernel_is_tuned_at_its_first_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Copying(Kernel):
        def run(self, *args: Any, **kwargs: Any) -> str:
            super().run(*args, **kwargs)
            x, y = args[:2]
            if kwargs["BLOCK"] != 256:
                y[:] = x
            time.sleep(1e-3 if kwargs["BLOCK"] == 64 else 0)
            return object()  # type: ignore[return-value]

    monkeypatch.setattr("tuner.decorator.in_place.gpu_clock", lambda name, timing: wall_seconds)
    kernel, x, y = Copying(), np.ones(4), np.zeros(4)
    tuned = tuner.autotune(CONFIGS, key=["M", "N"], store=MemoryStore(), device=GPU, mode="tune")(kernel)
    tuned[(8,)](x, y, 16, 4096)
    last = kernel.launched[-1]
    assert (last["BLOCK"], last["grid"], last["warmup"], y.tolist()) == (128, (8,), False, [1.0] * 4)
    assert tuned.choice(x, y, 16, 4096).source is Source.EXACT
    with pytest.raises(TunerError, match="a grid is needed"):
        tuned.choice(x, y, 17, 4096)


def test_hooks_and_pruning_are_triton_s_words() -> None:
    events: list[str] = []

    def run(n: int, how: str) -> int:
        return n

    def prune(configs: list[Any], named: dict[str, Any], **keywords: Any) -> list[Any]:
        assert (named, keywords) == ({"n": 3}, {})
        return [config for config in configs if config["how"] != "c"]

    def before(arguments: dict[str, Any], reset_only: bool = False) -> None:
        events.append(f"{'reset' if reset_only else 'before'} {arguments['how']}")

    tuned = tuner.autotune(
        [{"how": how} for how in "abc"],
        key=["n"],
        store=(store := MemoryStore()),
        mode="tune",
        pre_hook=before,
        post_hook=lambda arguments, exception: events.append(f"after {arguments['how']}"),
        prune_configs_by={"early_config_prune": prune},
    )(run)
    tuned.choice(3)
    assert set(events) == {"before a", "after a", "before b", "after b", "reset a"}
    assert [event for event in events if event.startswith("reset")] == events[-1:]
    [campaign] = store.campaigns()
    assert campaign.trials == 2


@pytest.mark.parametrize(("top", "left"), [(2, [512, 256]), (0.25, [512]), (0.1, [512]), (9, None), (1.0, None)])
def test_a_model_chooses_as_it_does_in_triton(top: float, left: list[int] | None) -> None:
    """Triton's own autotuner and ours measure the same configs, for the same arguments."""
    from triton.runtime.autotuner import Autotuner

    configs = [triton.Config({"BLOCK": 1 << power}, num_warps=4) for power in range(5, 10)]
    told: list[dict[str, Any]] = []

    def early(configs: list[Any], named: dict[str, Any], **keywords: Any) -> list[Any]:
        told.append({"named": named, **keywords})
        return [config for config in configs if config.kwargs["BLOCK"] <= keywords["N"]]

    def model(**arguments: Any) -> float:
        told.append(arguments)
        return -float(arguments["BLOCK"])

    prune = {"early_config_prune": early, "perf_model": model, "top_k": top}
    theirs = Autotuner(Kernel(), Kernel.arg_names, configs, ["M"], None, None, prune_configs_by=prune)
    theirs.nargs = dict(zip(Kernel.arg_names, (X, Y, 16), strict=False))
    launch = {"N": 512, "grid": (1,), "warmup": False}
    expected = [config.kwargs["BLOCK"] for config in theirs.prune_configs(launch)]
    seen, told = told, []
    own = Pruning.of(prune)
    assert own is not None
    kept = own.kept(configs, theirs.nargs, launch)
    assert [config["BLOCK"] for config in kept] == expected
    assert left is None or expected == left
    assert [set(one) for one in told] == [set(one) for one in seen]


def test_what_measures_a_kernel_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def bench(call: Any, quantiles: Any) -> list[float]:
        call()
        calls.append(quantiles)
        milliseconds = 1.0 if kernel.launched[-1]["BLOCK"] == 256 else 2.0
        return [milliseconds, milliseconds, milliseconds]

    def early(configs: list[Any], named: dict[str, Any], **keywords: Any) -> list[Any]:
        assert (set(named), keywords) == ({"x_ptr", "y_ptr", "M", "N"}, {"grid": (1,), "warmup": False})
        return [config for config in configs if config.kwargs["BLOCK"] != 128]

    monkeypatch.setattr("tuner.decorator.in_place.detect", lambda _: detect("cpu"))
    kernel, store = Kernel(), MemoryStore()
    options: dict[str, Any] = {"do_bench": bench, "prune_configs_by": {"early_config_prune": early}}
    tuned = tuner.autotune(CONFIGS, key=["M"], store=store, device=GPU, mode="tune", cache_results=True, **options)(
        kernel
    )
    tuned[(1,)](X, Y, 16, 4096)
    assert kernel.launched[-1]["BLOCK"] == 256
    assert set(calls) == {(0.5, 0.2, 0.8)}
    [winner] = store.winners()
    assert (winner.config["BLOCK"], winner.evidence.config_seconds, winner.evidence.speedup) == (256, 1e-3, 2.0)
    assert {one["BLOCK"] for one in kernel.launched} == {64, 256}
    assert winner.evidence.conditions == {}  # whoever measured knows how


@pytest.mark.parametrize(
    ("options", "conditions"),
    [({}, {"graph": "none", "cache": "cold"}), ({"use_cuda_graph": True}, {"graph": "events around", "cache": "warm"})],
)
def test_evidence_tells_of_graphs(
    options: dict[str, Any], conditions: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.decorator.in_place.gpu_clock", lambda name, timing: wall_seconds)

    class Quick(Kernel):
        def run(self, *args: Any, **kwargs: Any) -> str:
            time.sleep(1e-3 if kwargs["BLOCK"] == 64 else 0)
            return super().run(*args, **kwargs)

    store = MemoryStore()
    tuned = tuner.autotune(CONFIGS, key=["M"], store=store, device=GPU, mode="tune", **options)(Quick())
    tuned[(1,)](X, Y, 16, 4096)
    assert store.winners()[0].evidence.conditions == conditions


def test_triton_s_benchmark_is_asked_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def bench(call: Any, **options: Any) -> float:
        asked.append(options)
        return 2.0

    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    import triton.testing

    monkeypatch.setattr(triton.testing, "do_bench", bench)
    monkeypatch.setattr(triton.testing, "do_bench_cudagraph", bench)
    assert gpu_clock("k", Timing(warmup=5, rep=50))(lambda: None) == 2e-3
    assert gpu_clock("k", Timing(rep=30, use_cuda_graph=True))(lambda: None) == 2e-3
    assert asked == [
        {"warmup": 5, "rep": 50, "return_mode": "median"},
        {"rep": 30, "return_mode": "median"},
    ]


def test_the_decorator_has_every_argument_of_triton_s() -> None:
    theirs, ours = (set(inspect.signature(one).parameters) for one in (triton.autotune, tuner.autotune))
    assert theirs <= ours


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rep": 0}, "rep=0 is not a positive number of milliseconds"),
        ({"warmup": True}, "warmup=True is not a positive number"),
        ({"do_bench": 3}, "do_bench=3 is not a function"),
        ({"do_bench": print, "rep": 5, "use_cuda_graph": True}, "rep and use_cuda_graph and do_bench each say how"),
        ({"restore_value": ["z_ptr"]}, "restore_value names z_ptr; the function's arguments are x_ptr"),
        ({"reset_to_zero": ["z_ptr"]}, "reset_to_zero names z_ptr"),
    ],
)
def test_what_triton_s_arguments_cannot_say(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(TunerError, match=reason):
        tuner.autotune(CONFIGS, key=["M"], **options)(Kernel())


def test_a_search_space_and_a_shared_lookup() -> None:
    space = SearchSpace(
        [Parameter("BLOCK", [16, 32, 64], default=32), Parameter("WARPS", [1, 2])],
        [Constraint.parse("BLOCK >= 32 * WARPS", "a warp is 32 wide")],
    )
    lookup = Lookup.open(MemoryStore(), device=GPU, kernels={"other": Rules({})})
    tuned = tuner.autotune(space, key={"M": "x.size", "dtype": "x.dtype"}, store=lookup, fields={"epilogue": "none"})(
        lambda x, BLOCK, WARPS: (x.size, BLOCK, WARPS)
    )
    assert tuned(np.zeros(7, dtype="float32")) == (7, 32, 1)
    [miss] = lookup.misses()
    assert dict(miss.workload) == {"M": 7, "dtype": "fp32", "epilogue": "none"}
    assert lookup.best("other", M=1).source is Source.DEFAULT


def test_an_argument_that_is_left_out_has_its_default() -> None:
    lookup = Lookup.open(MemoryStore(), device=GPU)
    tuned = tuner.autotune({"B": [1]}, key=["n", "m"], store=lookup)(lambda n, m=5, B=0: n + m)
    assert tuned(2) == 7
    assert dict(lookup.misses()[0].workload) == {"n": 2, "m": 5}
    with pytest.raises(TunerError, match="the call lacks n"):
        tuned()


def test_decorating_loads_nothing_heavy_and_opens_nothing() -> None:
    code = """
import sys, tuner
@tuner.autotune({"B": [1, 2]}, key=["n"], store="/no/such/store.db")
def double(n, B): return 2 * n
assert tuner.autotune is tuner.autotune and callable(tuner.autotune)
import tuner.decorator.autotune
assert callable(tuner.autotune)
print(*(name for name in ("numpy", "sqlalchemy", "triton", "torch") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_cpu_is_what_asks_for_a_plain_callable() -> None:
    tuned = tuner.autotune({"B": [1]}, key=["n"], store=MemoryStore())(lambda n, B: n)
    tuned.prepare()
    assert tuned.setting.lookup.device.fingerprint == detect("cpu").fingerprint
