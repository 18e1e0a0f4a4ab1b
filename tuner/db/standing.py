"""Who is promoted, quarantined and retired: the rules by which winners of one place move, the same in every store.

A place is a tunable, whatever its version, on one workload and one model of hardware. Pure: from how the winners of a
place stand to the moves to make, in order. Stores read the standings and make the moves in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tuner.db import refusal
from tuner.types import State

__all__ = ["Move", "Newcomer", "Standing", "admit", "move", "promote", "quarantine", "rollback"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How one winner of a place stands.

    Attributes:
        id: Its identifier.
        task: What identifies its task: one of those at the place, which differ by the tunable's version.
        config: What identifies its config.
        state: Its state.
        why: The last entry of its history.
        promoted: The higher, the later it was promoted last; 0 if never.
        campaign: The campaign that found it; empty where none did.
        objective: What it was proven for, in words.
    """

    id: int
    task: int | str
    config: str
    state: State
    why: str
    promoted: int
    campaign: str = ""
    objective: str = ""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A winner that is to be kept.

    Attributes:
        task: What identifies its task.
        config: What identifies its config.
        state: The state in which it was found.
        campaign: The campaign that found it; empty where none did.
        objective: What it was proven for, in words.
    """

    task: int | str
    config: str
    state: State
    campaign: str = ""
    objective: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """A winner that enters a state, for a reason."""

    winner: int
    state: State
    why: str


def admit(standings: Sequence[Standing], new: Newcomer, why: str) -> tuple[State, str, list[int]]:
    """Return how a new winner is kept: its state, the first entry of its history, and whom it retires.

    One that was to be promoted is a candidate instead where its config is quarantined at the place, or where what is
    served for its task was proven for another objective, by another campaign: whoever tuned for that has to say that it
    does not matter. Where others are quarantined, the history of what is promoted says so.

    Args:
        standings: The winners of its place.
        new: The winner.
        why: Where it comes from.
    """
    if new.state is not State.PROMOTED:
        return new.state, why, []
    if barred := _quarantined(standings, new.config):
        note = f"its config is that of winner {barred.id}, which is quarantined ({barred.why})"
        return State.CANDIDATE, f"{why}; not promoted, for {note}", []
    served = _promoted(standings, new.task)
    for one in served:
        if one.objective != new.objective and not (new.campaign and one.campaign == new.campaign):
            note = (
                f"it was proven to {new.objective}, and winner {one.id}, which is served, to {one.objective}: "
                "promote it by hand if it is to be served instead, or give each objective a workload of its own"
            )
            return State.CANDIDATE, f"{why}; not promoted, for {note}", []
    others = [other for other in standings if other.state is State.QUARANTINED]
    told = "".join(f"; winner {other.id} is quarantined here ({other.why})" for other in others)
    return new.state, why + told, [other.id for other in served]


def move(standings: Sequence[Standing], winner: int, state: State, why: str) -> list[Move]:
    """Return the moves that bring a winner to `state`, whatever it was; for one that is promoted, another gives way."""
    own = _own(standings, winner)
    return [*(_retired(standings, own) if state is State.PROMOTED else []), Move(winner, state, why)]


def promote(standings: Sequence[Standing], winner: int, why: str, *, despite_quarantine: bool) -> list[Move]:
    """Return the moves that promote a winner; none if it is promoted.

    Raises:
        StoreError: its config is quarantined, and nobody said that this does not matter.
    """
    own = _own(standings, winner)
    barred = own if own.state is State.QUARANTINED else _quarantined(standings, own.config)
    if barred is None:
        return [] if own.state is State.PROMOTED else move(standings, winner, State.PROMOTED, why)
    if not despite_quarantine:
        raise refusal.quarantined(winner, barred.id, barred.why)
    lifted = f"its quarantine ended when winner {winner}, which has the same config, was promoted: {why}"
    return [
        *(Move(one.id, State.RETIRED, lifted) for one in _alike(standings, own) if one.state is State.QUARANTINED),
        *move(standings, winner, State.PROMOTED, f"{why} (despite the quarantine of winner {barred.id}: {barred.why})"),
    ]


def quarantine(standings: Sequence[Standing], winner: int, why: str) -> list[Move]:
    """Return the moves that quarantine a winner, with the promoted ones of other versions that have its config.

    They are what would be served in its place.
    """
    along = f"quarantined with winner {winner}, which has the same config: {why}"
    alike = [one for one in _alike(standings, _own(standings, winner)) if one.state is State.PROMOTED]
    return [Move(winner, State.QUARANTINED, why), *(Move(one.id, State.QUARANTINED, along) for one in alike)]


def rollback(standings: Sequence[Standing], winner: int, why: str) -> list[Move]:
    """Return the moves that quarantine the promoted winner of a task and promote the one before it.

    Raises:
        StoreError: it is not promoted, or none before it may be promoted.
    """
    own = _own(standings, winner)
    if own.state is not State.PROMOTED:
        instead = next((one.id for one in _promoted(standings, own.task)), None)
        raise refusal.not_promoted(winner, own.state, instead)
    before = [
        one
        for one in standings
        if one.task == own.task
        and one.state is State.RETIRED
        and one.promoted
        and one.config != own.config
        and not _quarantined(standings, one.config)
    ]
    if not before:
        raise refusal.nothing_before(winner)
    previous = max(before, key=lambda one: one.promoted)
    return [
        *quarantine(standings, winner, f"rolled back to winner {previous.id}: {why}"),
        Move(previous.id, State.PROMOTED, f"rolled back from winner {winner}: {why}"),
    ]


def _own(standings: Iterable[Standing], winner: int) -> Standing:
    return next(one for one in standings if one.id == winner)


def _promoted(standings: Iterable[Standing], task: int | str) -> list[Standing]:
    return [one for one in standings if one.state is State.PROMOTED and one.task == task]


def _alike(standings: Iterable[Standing], own: Standing) -> list[Standing]:
    return [one for one in standings if one.id != own.id and one.config == own.config]


def _quarantined(standings: Iterable[Standing], config: str) -> Standing | None:
    """Return the winner with this config that was quarantined; the newest of several."""
    found = [one for one in standings if one.state is State.QUARANTINED and one.config == config]
    return max(found, key=lambda one: one.id, default=None)


def _retired(standings: Iterable[Standing], own: Standing) -> list[Move]:
    others = [one for one in _promoted(standings, own.task) if one.id != own.id]
    return [Move(one.id, State.RETIRED, f"replaced by winner {own.id}{_other_objective(own, one)}") for one in others]


def _other_objective(own: Standing, other: Standing) -> str:
    """Return what a history says of a replacement that was proven for something else; nothing where it was not."""
    return "" if own.objective == other.objective else f", which was proven to {own.objective}, not {other.objective}"
