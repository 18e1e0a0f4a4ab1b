"""Judge agents side by side on recorded spaces, without and with what the other spaces of their kernels tell.

    python -m benchmarks.agents [FILE...] --json figures.json

Every agent has the same runs: the same spaces, seeds and, with a prior, the same records of other files. The priors are
`space`, `device` and `kernel`, named for what is left out: the kernel's other spaces, for other workloads too; those on
other devices; other kernels. `one` is a single other device, drawn by the run's seed; `shuffled` is `space` with the
times dealt to other configs, so that it misleads. Spaces that have no such prior are left out then. Kernel Tuner's
strategies are told no prior. Times of proposals are CPU times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.agents import agent_class, installed_agents
from tuner.db.kernel_tuner import read_cache_file
from tuner.replay import LeaveOut, Prior, Rules, Score, estimates, judge, priors_of, proposal_time
from tuner.replay.table import by_agent, by_kernel

RECORDED = Path(__file__).parents[1] / "examples" / "recorded"
# Those that are worth a row wherever they are installed, from the simplest to the default.
AGENTS = ("random", "optuna", "evolution", "lfbo", "gp", "portfolio", "auto")
RIVALS = ("genetic_algorithm", "pso", "adaptive_tabu_greywolf")
# What a run is told: what is left out of the other files, and what of the rest is told.
KINDS = {
    **{kind.value: (kind, Prior()) for kind in LeaveOut},
    "one": (LeaveOut.DEVICE, Prior(spaces=1)),
    "shuffled": (LeaveOut.SPACE, Prior(shuffled=True)),
}
NONE = "none"


def judged(files: Sequence[Path], agents: Sequence[str], rules: Rules, kind: str, records: int) -> list[Score]:
    """Return the scores of all agents, told nothing or what `kind` leaves them."""
    if kind == NONE:
        return judge(files, agents, rules)
    spaces = [read_cache_file(file) for file in files]
    leave_out, like = KINDS[kind]
    made = priors_of(files, spaces, leave_out, replace(like, records=records))
    told = {file: prior for file, prior in zip(files, made, strict=True) if prior.paths}
    return judge(list(told), agents, rules, priors=list(told.values())) if told else []


def figures(prior: str, scores: Sequence[Score], rules: Rules) -> list[dict[str, Any]]:
    """Return what was found of each agent: means with intervals, per kernel, and every run."""
    results = []
    for agent, own in by_agent(scores).items():
        time = proposal_time(own, rules.trials)
        groups = {"all": own, **by_kernel(own)}
        results.append(
            {
                "agent": agent,
                "prior": prior,
                "means": {
                    name: {figure: estimate.to_json() for figure, estimate in estimates(group).items()}
                    for name, group in groups.items()
                },
                "proposal": time.to_json() if time else None,
                "spaces": [score.to_json() for score in own],
            }
        )
    return results


def tables(results: Sequence[Mapping[str, Any]], name: str, batch: int) -> list[Table]:
    """Return all agents side by side, and their scores by kernel; `name` is what a page calls the first."""
    checkpoints = [figure for figure in results[0]["means"]["all"] if figure.startswith("f")]
    kernels = [kernel for kernel in results[0]["means"] if kernel != "all"]
    last = checkpoints[-1]
    at_once = f", {batch} at once" if batch > 1 else ""
    overall, each = [], []
    for result in results:
        found = result["means"]["all"]
        score = found["score"]
        overall.append(
            [
                result["agent"] + at_once,
                result["prior"],
                f"{score['value']:.3f} [{score['low']:.2f}, {score['high']:.2f}]",
                *(f"{found[figure]['value']:.3f}" for figure in checkpoints),
                f"{found['to_5_percent']['value']:.0f}",
                f"{found['hit']['value']:.2f}",
                f"{1e3 * result['proposal']['median_seconds']:.2f} ms" if result["proposal"] else "-",
            ]
        )
        means = [result["means"].get(kernel) for kernel in kernels]
        cells = [f"{m[last]['value']:.3f}, {m['to_5_percent']['value']:.0f}" if m else "-" for m in means]
        each.append([result["agent"] + at_once, result["prior"], *cells])
    return [
        Table(name, ["agent", "prior", "score", *checkpoints, "to 5 %", "hit rate", "a proposal"], overall),
        Table(f"{name}-kernels", ["agent", "prior", *(f"{kernel}: {last}, to 5 %" for kernel in kernels)], each),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, judge, print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: those in examples/recorded")
    parser.add_argument("--agents", help="NAME,NAME; default: all that are worth a row")
    parser.add_argument("--rivals", help="strategies of Kernel Tuner, NAME,NAME; default: some, if it is installed")
    parser.add_argument(
        "--told", help="agents that run again with a prior, NAME,NAME; default: those that learn from one"
    )
    parser.add_argument("--trials", type=int, default=200, help="evaluations of each run (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=20, help="runs on each space (default %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="configs proposed at once (default %(default)s)")
    parser.add_argument(
        "--priors", default="none,space", help=f"of {', '.join([NONE, *KINDS])}, KIND,KIND (default %(default)s)"
    )
    parser.add_argument("--records", type=int, default=200, help="records of each prior's file (default %(default)s)")
    parser.add_argument("--name", default="agents", help="what a page calls the tables (default %(default)s)")
    options = options_of(
        parser, arguments, {"trials": 10, "seeds": 1, "agents": "random", "told": "random", "rivals": ""}
    )
    known = installed_agents()
    agents = [name for name in AGENTS if name in known] if options.agents is None else _names(options.agents)
    learning = [name for name in agents if agent_class(name).learns_from_sources]
    told = learning if options.told is None else _names(options.told)
    rivals = _names(options.rivals if options.rivals is not None else ",".join(RIVALS if _has_rivals() else ()))
    files = options.files or sorted(RECORDED.glob("*.json*"))
    rules = Rules(options.trials, options.seeds, options.batch, options.seed)
    report = Report("agents", options, arguments)
    results = []
    for name in _names(options.priors):
        if name not in (NONE, *KINDS):
            parser.error(f"no prior {name!r}; choose of {', '.join([NONE, *KINDS])}")
        contenders = told if name != NONE else [*agents, *(f"kernel_tuner:{rival}" for rival in rivals)]
        results += figures(name, judged(files, contenders, rules, name, options.records), rules)
        print(f"prior {name}: done", flush=True)
    report.finish(results, tables(results, options.name, options.batch))


def _names(words: str) -> list[str]:
    return [word for word in words.split(",") if word]


def _has_rivals() -> bool:
    return find_spec("kernel_tuner") is not None


if __name__ == "__main__":
    main()
