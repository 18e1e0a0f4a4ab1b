"""What was found, as tables for people: one of each agent, and one of all agents side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.replay.score import (
    COMMUNITY,
    EVALUATIONS,
    HIT,
    REACHED,
    Estimate,
    Score,
    differences,
    estimates,
    proposal_time,
)
from tuner.replay.tournament import Rules
from tuner.text import seconds_text

__all__ = ["Table", "by_agent", "by_kernel", "tables"]

_MANY = 3
# Runs that took so much of what they were allowed ended by chance, not by choice.
_NEARLY_ALL = 0.99
_TITLES: Mapping[str, str] = {COMMUNITY: "score", REACHED: "to 5 %", HIT: "hit rate", EVALUATIONS: "evaluations"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        title: What it shows.
        columns: Titles of the columns.
        rows: The cells, each row as long as `columns`.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def by_agent(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Return each agent's scores, in the order of their coming."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.agent, []).append(score)
    return groups


def by_kernel(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Return the scores of each kernel's spaces."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.kernel, []).append(score)
    return groups


def tables(scores: Sequence[Score], rules: Rules) -> list[Table]:
    """Return a table of each agent and, where there are several, one of them all, which comes last."""
    groups = by_agent(scores)
    made = [_agent_table(agent, own, rules) for agent, own in groups.items()]
    return [*made, _comparison(groups, rules)] if len(groups) > 1 else made


def _agent_table(agent: str, scores: Sequence[Score], rules: Rules) -> Table:
    """Return each space, each kernel that has several, and the mean with its interval."""
    names = _names(scores, rules)
    rows = [
        (
            score.space,
            str(score.size),
            seconds_text(score.optimum_seconds),
            *_values(estimates([score]), names),
            _prior_text(score.prior),
        )
        for score in scores
    ]
    kernels = by_kernel(scores)
    if len(kernels) > 1:
        rows += [
            (f"{kernel}: {len(own)} spaces", "", "", *_values(estimates(own), names), "")
            for kernel, own in kernels.items()
            if len(own) > 1
        ]
    found = estimates(scores)
    rows.append(("mean", "", "", *_values(found, names), ""))
    rows.append(("95 % interval", "", "", *(_interval_text(name, found[name]) for name in names), ""))
    columns = ("space", "configs", "optimum", *(_TITLES.get(name, name) for name in names), "prior")
    return Table(f"{agent}: {_rules_text(rules)}{_proposal_text(scores, rules)}", columns, tuple(rows))


def _comparison(groups: Mapping[str, Sequence[Score]], rules: Rules) -> Table:
    """Return the means of all agents, and by how much each differs from the first."""
    scores = [score for own in groups.values() for score in own]
    names = _names(scores, rules)
    first, reference = next(iter(groups.items()))
    rows = []
    for agent, own in groups.items():
        found = estimates(own)
        time = proposal_time(own, rules.trials)
        gain = differences(own, reference)[COMMUNITY]
        rows.append(
            (
                agent,
                f"{found[COMMUNITY].value:.3f} {_interval_text(COMMUNITY, found[COMMUNITY])}",
                *_values(found, [name for name in names if name != COMMUNITY]),
                f"{1e3 * time.median_seconds:.2f} ms" if time else "-",
                "-" if agent == first else f"{gain.value:+.3f} {_interval_text(COMMUNITY, gain)}",
            )
        )
    titles = (_TITLES.get(name, name) for name in names if name != COMMUNITY)
    spaces = len(reference)
    return Table(
        f"{spaces} space{'s' if spaces > 1 else ''}, {_rules_text(rules)}",
        ("agent", "score", *titles, "a proposal", f"score over {first}"),
        tuple(rows),
    )


def _names(scores: Sequence[Score], rules: Rules) -> list[str]:
    """Return the figures that are worth a column: how many evaluations runs took only where one ended early."""
    names = [COMMUNITY, *(name for name in scores[0].figures if name not in _TITLES), REACHED, HIT]
    taken = [count for score in scores for count in score.figures[EVALUATIONS]]
    early = sum(taken) < _NEARLY_ALL * rules.trials * len(taken)
    return [*names, EVALUATIONS] if early else names


def _values(found: Mapping[str, Estimate], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_text(name, found[name].value) for name in names)


def _text(name: str, value: float) -> str:
    if name in (REACHED, EVALUATIONS):
        return f"{value:.0f}"
    return f"{value:.2f}" if name == HIT else f"{value:.3f}"


def _interval_text(name: str, estimate: Estimate) -> str:
    low, high = (
        _text(name, end) if name in (REACHED, EVALUATIONS) else f"{end:.2f}" for end in (estimate.low, estimate.high)
    )
    return f"[{low}, {high}]"


def _prior_text(prior: Sequence[str]) -> str:
    if len(prior) <= _MANY:
        return ", ".join(prior) or "-"
    return f"{', '.join(prior[:_MANY])} and {len(prior) - _MANY} more"


def _rules_text(rules: Rules) -> str:
    batches = f", batches of {rules.batch}" if rules.batch > 1 else ""
    return f"{rules.seeds} seeds, {rules.trials} trials{batches}"


def _proposal_text(scores: Sequence[Score], rules: Rules) -> str:
    time = proposal_time(scores, rules.trials)
    if time is None:
        return ""
    return (
        f"; a proposal takes {1e3 * time.median_seconds:.2f} ms, 95 % of them up to {1e3 * time.p95_seconds:.2f} ms "
        f"(at about {time.observations} observations)"
    )
