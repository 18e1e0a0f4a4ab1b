"""A campaign on a real vLLM server: its goodput beside that of vLLM's defaults, on traffic that no trial saw.

    python -m benchmarks.vllm_engine --json vllm_engine.json        # a quarter of an hour; needs `make engines-venv`
    python -m benchmarks.vllm_engine --quick                        # a smoke run against a server that only sleeps

The model is a Llama with random weights (32 million parameters), made on the spot. A request is good when its first
token comes within 2 seconds and the others at 25 a second or faster (`--ttft`, `--tpot`): that is faster than people
read. The load follows from the defaults alone, before anything is tuned: twice the most users, by doubling, of whom
vLLM's defaults serve 95 % well. So the campaign is what an operator starts whose traffic has grown.

The final is that of any campaign: fresh servers, held-out requests, windows of default and winner in turns, the
interval one over windows. Both servers have the same KV cache.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import available_cores, detect
from tuner.engines import Window
from tuner.engines.client import Target, serve_window
from tuner.engines.process import ServerProcess
from tuner.engines.served import profiles_of
from tuner.engines.server import Launch, ServerTunable
from tuner.engines.traffic import Traffic
from tuner.finals import Finals
from tuner.phrase import parse_objective
from tuner.plan import Budget, Plan
from tuner.runners import LocalRunner
from tuner.text import config_text
from tuner.tunable import load
from tuner.types import Device, Scalar, Task

ROOT = Path(__file__).parents[1]
ENGINES = ROOT / ".venv-engines" / "bin" / "python"
PARAMETERS = "max_num_seqs,dtype,max_num_batched_tokens"
ENOUGH = 0.95
MOST_USERS = 512
# One finalist plays the final alone, beside the default: fresh servers of both.
STARTS_OF_FINALS = 2

FAKE = """
command: "{python} -m tuner.testing.openai_server --port {port} --token-seconds 0.002"
model: fake
parameters:
  - {name: max_num_seqs, flag: --max-num-seqs, values: [1, 4, 16, 64], default: 64}
  - {name: dtype, flag: --dtype, values: [auto, float32], silent: [auto]}
"""


def subject(folder: Path, quick: bool, layers: int, hidden: int) -> tuple[str, dict[str, Scalar]]:
    """Return the engine and its own fields: vLLM with a model, or a server that sleeps."""
    if quick:
        (folder / "server.yaml").write_text(FAKE)
        return "engine:openai", {"server": str(folder / "server.yaml")}
    if not ENGINES.exists():
        raise SystemExit(f"there is no vLLM in {ENGINES.parent.parent.name}; make engines-venv")
    model = ROOT / "build" / f"llama-{hidden}-{layers}"
    make = [ENGINES, ROOT / "tools" / "random_llama.py", model, "--hidden", str(hidden), "--layers", str(layers)]
    subprocess.run(list(map(str, make)), check=True)
    return "engine:vllm", {"model": str(model), "context_tokens": 512, "parameters": PARAMETERS}


def most_users(launch: Launch, traffic: Traffic) -> tuple[int, list[Mapping[str, float]]]:
    """Return the most users, by doubling, of whom a server serves nearly all well, and what was seen on the way."""
    seen: list[Mapping[str, float]] = []
    users = 4
    with ServerProcess(launch.command, deadline_seconds=launch.deadline_seconds) as server:
        target = Target(server.url, launch.model, launch.prompts, launch.extra)
        serve_window(target, replace(traffic, concurrency=users), Window(0), most_requests=2 * users)
        while users < MOST_USERS:
            served = serve_window(target, replace(traffic, concurrency=2 * users), Window(users))
            good = sum(answer.is_good(traffic.limits) for answer in served.answers) / len(served.answers)
            seen.append({"users": 2 * users, "good": good, "requests_per_second": len(served.answers) / served.seconds})
            print(
                f"{2 * users} users: {good:.1%} good, {len(served.answers) / served.seconds:.1f} requests/s", flush=True
            )
            if good < ENOUGH:
                break
            users *= 2
    return users, seen


def campaign(task: Task, trials: int, finals: Finals, seed: int) -> tuple[list[Mapping[str, object]], Table]:
    """Return what a campaign found, with the time that it spent elsewhere than in starts and measurements."""
    objective = parse_objective("maximize goodput")
    store = MemoryStore()
    runner = LocalRunner()
    plan = Plan("auto", Budget(trials), objective, finals, seed, prior=False, in_flight=1)
    started = time.perf_counter()
    try:
        one = Campaign([task], plan, runner=runner, store=store)
        [result] = one.run()
        wall = time.perf_counter() - started
        inside = runner.activity.device_seconds
    finally:
        runner.close()
    default = load(task.tunable).default(task.workload, task.device)
    tried = {default, *(trial.config for trial in store.trials(one.id, task))}
    starts = len(tried) + STARTS_OF_FINALS
    assert result.speedup is not None, "there was no final"
    assert result.speedup_interval is not None, "the final was too short"
    low, high = result.speedup_interval
    found = {
        "config": dict(result.config),
        "promoted": result.promoted,
        "default_goodput_per_second": result.default_value,
        "goodput_per_second": result.best_value,
        "ratio": result.speedup,
        "interval": [low, high],
        "confidence": finals.confidence,
        "starts": starts,
        "trials": [
            {"config": dict(trial.config), "measurement": trial.measurement.to_json()}
            for trial in store.trials(one.id, task)
        ],
        "final": {name: list(values) for name, values in result.winner.evidence.samples.items()}
        if result.winner
        else None,
        "wall_seconds": wall,
        "share_in_starts_and_measurements": inside / wall,
    }
    row = [
        f"{result.default_value or 0:.2f}",
        f"{result.best_value or 0:.2f}",
        f"{result.speedup:.2f} [{low:.2f}, {high:.2f}]",
        config_text(result.config),
        str(starts),
        f"{wall:.0f}",
        f"{inside / wall:.1%}",
    ]
    columns = ["default, good/s", "winner, good/s", "ratio", "config", "starts", "seconds", "in starts and windows"]
    return [found], Table("vllm-engine", columns, [row])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("--hidden", type=int, default=512, help="width of the model, default %(default)s")
    parser.add_argument("--layers", type=int, default=10, help="default %(default)s")
    parser.add_argument("--trials", type=int, default=10, help="default %(default)s, that of the default among them")
    parser.add_argument("--ttft", type=float, default=2.0, help="limit in seconds, default %(default)s")
    parser.add_argument("--tpot", type=float, default=0.04, help="limit in seconds, default %(default)s")
    parser.add_argument("--window", type=float, default=5.0, help="seconds of a window, default %(default)s")
    parser.add_argument("--prompt", type=int, default=128, help="mean tokens of a prompt, default %(default)s")
    parser.add_argument("--output", type=int, default=32, help="mean tokens of an answer, default %(default)s")
    parser.add_argument("--users", type=int, help="users of the campaign, instead of what follows from the defaults")
    quick = {"trials": 2, "window": 0.3, "prompt": 8, "output": 4, "users": 8, "ttft": 1.0, "tpot": 0.02}
    given = options_of(parser, arguments, quick)
    report = Report("vllm_engine", given, arguments)
    folder = Path(tempfile.mkdtemp(prefix="tuner-benchmark-"))
    try:
        engine, fields = subject(folder, given.quick, given.layers, given.hidden)
        fields |= {
            "seconds": given.window,
            "prompt_tokens": given.prompt,
            "output_tokens": given.output,
            "output_lengths": "lognormal",
            "output_spread": 0.3,
            "ttft_limit_seconds": given.ttft,
            "tpot_limit_seconds": given.tpot,
            "seed": given.seed,
        }
        device = detect(f"cpu:{len(available_cores())}")
        users, seen = (given.users, []) if given.users else load_of(engine, fields, device)
        print(f"campaign with {users} users", flush=True)
        task = task_of(engine, {**fields, "concurrency": users}, device)
        results, table = campaign(task, given.trials, Finals(finalists=1), given.seed)
        report.finish([{"users": users, "defaults_by_users": seen, **one} for one in results], [table])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load_of(engine: str, fields: Mapping[str, Scalar], device: Device) -> tuple[int, list[Mapping[str, float]]]:
    """Return twice the users that the defaults serve well, with what was seen on the way."""
    tunable = load(engine)
    assert isinstance(tunable, ServerTunable), "it is a server"
    workload = tunable.workload(fields)
    [profile] = profiles_of(workload)
    users, seen = most_users(tunable.launch(tunable.default(workload, device), workload), profile.traffic)
    return 2 * users, seen


if __name__ == "__main__":
    main(sys.argv[1:])
