"""What every store promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tuner.types import Device, Peaks, State, Task, Trial, Winner

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
    """Keeps campaigns, trials and winners, and the peaks of devices.

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
        before, if any. A task that is finished again (after a resume) replaces its outcome; the same winner with the
        same evidence is not added twice.

        Returns:
            The winner with its identifier and its campaign.

        Raises:
            StoreError: `winner` belongs to another task, or `outcome` is not JSON data.
        """

    def outcomes(self, campaign: str) -> dict[str, Mapping[str, Any]]:
        """Return how the finished tasks of a campaign ended, by task key."""

    def winners(self, *, tunable: str | None = None, state: State | None = State.PROMOTED) -> list[Winner]:
        """Return winners, the newest first, of one tunable or of all, in one state or in all (None)."""

    def set_winner_state(self, winner: int, state: State, why: str) -> None:
        """Move a winner to `state` and append to its history; promoting it retires the task's other promoted winner.

        Raises:
            StoreError: there is no such winner.
        """

    def history(self, winner: int) -> list[StateChange]:
        """Return a winner's history, oldest first."""

    def peaks(self, device: Device) -> Peaks | None:
        """Return the peaks measured last on this model of hardware, whatever its environment; None if never."""

    def keep_peaks(self, device: Device, peaks: Peaks) -> None:
        """Keep the peaks of a model of hardware in place of those that were kept before."""

    def close(self) -> None:
        """Release connections."""
