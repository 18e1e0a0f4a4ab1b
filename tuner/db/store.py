"""What every store promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tuner.types import Device, Miss, Peaks, State, Task, Trial, Winner

__all__ = ["CampaignRecord", "CampaignState", "StateChange", "Store"]


class CampaignState(StrEnum):
    """How far a campaign is. One that was killed stays `running`, and can be resumed like an interrupted one."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class CampaignRecord:
    """A campaign as stored.

    Attributes:
        id: Eight hexadecimal digits.
        state: How far it is.
        spec: Budget, agent, seed and all else that resuming needs, as JSON data.
        created_at: UTC, ISO 8601.
        wall_seconds: Time that it has run, over all its runs.
        trials: Number of its trials.
    """

    id: str
    state: CampaignState
    spec: Mapping[str, Any]
    created_at: str
    wall_seconds: float
    trials: int


@dataclass(frozen=True, slots=True)
class StateChange:
    """One entry of a winner's history, which is only appended to.

    Attributes:
        at: UTC, ISO 8601.
        state: The state that the winner entered.
        why: The reason, in words.
    """

    at: str
    state: State
    why: str


class Store(Protocol):
    """Keeps campaigns, trials and winners, what serving code missed, and the peaks of devices.

    A config is quarantined for a place (a tunable, whatever its version, a workload, a model of hardware) while a
    winner with this config is quarantined there. No campaign promotes it there, and nobody does without saying so.

    One process writes a campaign's trials; any number may read. Every method is one transaction, safe to call from any
    thread; what has returned survives the process being killed (in a store on disk). Only `campaign` takes the
    beginning of an identifier; the others take the whole.

    Raises:
        StoreError: from every method: the store cannot be read or written, or the campaign, task or winner is not in
            it; the message says which.
    """

    def create_campaign(self, spec: Mapping[str, Any], tasks: Sequence[Task]) -> str:
        """Keep a new running campaign over `tasks` and return its identifier.

        Raises:
            StoreError: a task is listed twice, or `spec` is not JSON data.
        """

    def add_finished_campaign(self, spec: Mapping[str, Any], task: Task, trials: Sequence[Trial]) -> str:
        """Keep a campaign that was not run here, finished, with all its trials, in one transaction: all of it or none.

        Args:
            spec: As of `create_campaign`.
            task: What its trials are of.
            trials: The trials; they need not say of which campaign.

        Returns:
            The campaign's identifier.

        Raises:
            StoreError: two trials have one number, or `spec` is not JSON data.
        """

    def campaign(self, campaign: str) -> CampaignRecord:
        """Return a campaign; `campaign` may be an unambiguous beginning of its identifier.

        Raises:
            StoreError: there is none, or more than one.
        """

    def campaigns(self) -> list[CampaignRecord]:
        """Return all campaigns, the newest first."""

    def set_campaign_state(self, campaign: str, state: CampaignState, *, add_wall_seconds: float = 0.0) -> None:
        """Move a campaign to `state`, and add to the time that it has run."""

    def tasks(self, campaign: str) -> list[Task]:
        """Return a campaign's tasks in order, with the environment under which it was created."""

    def add_trial(self, task: Task, trial: Trial) -> None:
        """Keep a trial of a campaign.

        Raises:
            StoreError: its number within the campaign and task is taken; the first trial stays.
        """

    def trials(self, campaign: str, task: Task) -> list[Trial]:
        """Return a campaign's trials of a task in order of their numbers."""

    def finish_task(
        self, campaign: str, task: Task, outcome: Mapping[str, Any], winner: Winner | None
    ) -> Winner | None:
        """Keep how a task of a campaign ended, with its winner if there is one, in one transaction.

        A promoted winner retires the one that was promoted for the same task (same kernel version, workload, device)
        before, if any. One whose config is quarantined at the task's place, or that was proven for another objective
        than what another campaign promoted, is kept as a candidate instead, and its history says why. A task that is
        finished again (after a resume) replaces its outcome; the same winner with the same evidence is not added twice.

        Returns:
            The winner with its identifier, its campaign, and the state in which it was kept.

        Raises:
            StoreError: `winner` belongs to another task, or `outcome` is not JSON data.
        """

    def outcomes(self, campaign: str) -> dict[str, Mapping[str, Any]]:
        """Return how the finished tasks of a campaign ended, by task key."""

    def add_winner(self, winner: Winner, why: str) -> Winner:
        """Keep a winner that no campaign of this store found, such as an imported one.

        The same config with the same evidence is not added to a task twice: what is there is returned as it is.

        Args:
            winner: A candidate, which somebody may promote or a campaign prove; see `Evidence.told`.
            why: Where it comes from, the first entry of its history.

        Returns:
            The winner with its identifier; it has no campaign.

        Raises:
            StoreError: it is not a candidate, or claims to be of a campaign.
        """

    def add_winners(self, winners: Sequence[Winner], why: str) -> list[Winner]:
        """Keep several winners as `add_winner` does, in one transaction: all of them or none.

        Returns:
            The winners with their identifiers, in their order; one that was there already as it is.

        Raises:
            StoreError: one of them is not a candidate, or claims to be of a campaign.
        """

    def winners(
        self, *, tunable: str | None = None, state: State | None = State.PROMOTED, place: str | None = None
    ) -> list[Winner]:
        """Return winners, the newest first, of one tunable or of all, in one state or in all (None).

        Args:
            tunable: Only of this tunable, whatever its version.
            state: Only in this state.
            place: Only for this `Task.place`: winners of all versions for one workload on one model of hardware.
        """

    def winner(self, winner: int) -> Winner:
        """Return a winner.

        Raises:
            StoreError: there is no such winner.
        """

    def promote(self, winner: int, why: str, *, despite_quarantine: bool = False) -> Winner:
        """Serve a winner from now on; the task's other promoted winner retires. One that is promoted already stays.

        Where that is despite a quarantine, the quarantine ends, also of other winners with this config at this place.

        Args:
            winner: Its identifier.
            why: The reason, for its history.
            despite_quarantine: Promote it although it, or another winner with its config at its place, is quarantined.

        Raises:
            StoreError: there is no such winner, or it is quarantined and nobody said that this does not matter.
        """

    def quarantine(self, winner: int, why: str) -> Winner:
        """Never serve a winner again, until somebody lifts that; if it was promoted, nothing is promoted in its place.

        Promoted winners with this config at this place, of other versions of the tunable, are quarantined with it: they
        are what would be served instead.

        Raises:
            StoreError: there is no such winner, or no reason.
        """

    def rollback(self, winner: int, why: str) -> Winner:
        """Quarantine the promoted winner of a task, and promote the one that was promoted before it.

        That is the task's retired winner that was promoted last. Of several processes that roll the same winner back,
        one does; the others are told.

        Args:
            winner: The one that is promoted now and is not to be.
            why: The reason, for the histories of both.

        Returns:
            The winner that is promoted now.

        Raises:
            StoreError: there is no such winner, it is not promoted, no reason is given, or none was promoted before it
                that is not quarantined: the message says which, and nothing has changed.
        """

    def set_winner_state(self, winner: int, state: State, why: str) -> None:
        """Move a winner to `state`, whatever it was, and append to its history; the task's promoted winner gives way.

        Raises:
            StoreError: there is no such winner.
        """

    def history(self, winner: int) -> list[StateChange]:
        """Return a winner's history, oldest first."""

    def peaks(self, device: Device) -> Peaks | None:
        """Return the peaks measured last on this model of hardware, whatever its environment; None if never."""

    def keep_peaks(self, device: Device, peaks: Peaks) -> None:
        """Keep the peaks of a model of hardware in place of those that were kept before."""

    def add_misses(self, misses: Sequence[Miss]) -> None:
        """Keep what serving code missed: counts add up for the same kernel, workload and model of hardware.

        Source, environment and time are those of the last.

        Raises:
            StoreError: a time is not ISO 8601.
        """

    def misses(self, *, kernel: str | None = None, limit: int | None = None) -> list[Miss]:
        """Return what was missed, the most often missed first, of one kernel or of all; at most `limit`."""

    def forget_misses(self, misses: Sequence[Miss]) -> None:
        """Take the counts of `misses` off those that are kept; what is missed meanwhile stays."""

    def close(self) -> None:
        """Release connections."""
