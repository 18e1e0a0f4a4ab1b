"""The store of tests, of one-off calls and of dry runs: it ends with its process."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tuner.db import refusal, standing
from tuner.db.codec import dumps, loads, moment, now, same
from tuner.db.standing import Move, Newcomer, Standing
from tuner.db.store import CampaignRecord, CampaignState, StateChange
from tuner.phrase import purpose_text
from tuner.types import Device, Miss, Peaks, State, Task, Trial, Winner

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Campaign:
    id: str
    spec: str
    tasks: dict[str, Task]
    created_at: str = field(default_factory=now)
    state: CampaignState = CampaignState.RUNNING
    wall_seconds: float = 0.0
    trials: dict[str, dict[int, Trial]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)

    def record(self) -> CampaignRecord:
        count = sum(len(trials) for trials in self.trials.values())
        return CampaignRecord(self.id, self.state, loads(self.spec), self.created_at, self.wall_seconds, count)


class MemoryStore:
    """Keeps everything in this process; safe to call from any thread, gone when the process ends.

    Example:
        >>> store = MemoryStore()
        >>> campaign = store.create_campaign({"agent": "random"}, tasks=[])
        >>> store.campaign(campaign).spec
        {'agent': 'random'}
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._campaigns: dict[str, _Campaign] = {}
        self._winners: dict[int, Winner] = {}
        self._histories: dict[int, list[StateChange]] = {}
        # When each was promoted last, in the order of all changes: the clock may give two the same time.
        self._promoted: dict[int, int] = {}
        self._changes = 0
        self._peaks: dict[str, Peaks] = {}
        self._misses: dict[str, Miss] = {}

    def create_campaign(self, spec: Mapping[str, Any], tasks: Sequence[Task]) -> str:
        """Keep a new running campaign over `tasks` and return its identifier."""
        refusal.require_different(tasks)
        text = dumps(spec)
        with self._lock:
            campaign = secrets.token_hex(4)
            while campaign in self._campaigns:
                campaign = secrets.token_hex(4)
            self._campaigns[campaign] = _Campaign(campaign, text, {task.key: task for task in tasks})
        return campaign

    def add_finished_campaign(self, spec: Mapping[str, Any], task: Task, trials: Sequence[Trial]) -> str:
        """Keep a campaign that was not run here, finished, with all its trials: all of it or none."""
        refusal.require_numbered(task, trials)
        campaign = self.create_campaign(spec, [task])
        for trial in trials:
            self.add_trial(task, replace(trial, campaign=campaign))
        self.set_campaign_state(campaign, CampaignState.FINISHED)
        return campaign

    def campaign(self, campaign: str) -> CampaignRecord:
        """Return a campaign by its identifier or an unambiguous beginning of it."""
        with self._lock:
            matches = [name for name in self._campaigns if name.startswith(campaign)]
            if not matches:
                raise refusal.unknown_campaign(campaign)
            if len(matches) > 1:
                raise refusal.ambiguous_campaign(campaign, matches)
            return self._campaigns[matches[0]].record()

    def campaigns(self) -> list[CampaignRecord]:
        """Return all campaigns, the newest first."""
        with self._lock:
            return [campaign.record() for campaign in reversed(self._campaigns.values())]

    def set_campaign_state(self, campaign: str, state: CampaignState, *, add_wall_seconds: float = 0.0) -> None:
        """Move a campaign to `state`, and add to the time that it has run."""
        with self._lock:
            stored = self._campaign(campaign)
            stored.state = state
            stored.wall_seconds += add_wall_seconds

    def tasks(self, campaign: str) -> list[Task]:
        """Return a campaign's tasks in order, with the environment under which it was created."""
        with self._lock:
            return list(self._campaign(campaign).tasks.values())

    def add_trial(self, task: Task, trial: Trial) -> None:
        """Keep a trial of a campaign; its number within the campaign and task is new."""
        with self._lock:
            trials = self._trials(trial.campaign, task)
            if trial.number in trials:
                raise refusal.number_taken(trial.campaign, task, trial.number)
            trials[trial.number] = trial

    def trials(self, campaign: str, task: Task) -> list[Trial]:
        """Return a campaign's trials of a task in order of their numbers."""
        with self._lock:
            trials = self._trials(campaign, task)
            return [trials[number] for number in sorted(trials)]

    def finish_task(
        self, campaign: str, task: Task, outcome: Mapping[str, Any], winner: Winner | None
    ) -> Winner | None:
        """Keep how a task of a campaign ended, with its winner if there is one."""
        text = dumps(outcome)
        with self._lock:
            self._trials(campaign, task)
            if winner is not None and winner.task.key != task.key:
                raise refusal.wrong_task(task, winner.task)
            self._campaign(campaign).outcomes[task.key] = text
            found = f"found by campaign {campaign}"
            return None if winner is None else self._keep(replace(winner, campaign=campaign), found)

    def outcomes(self, campaign: str) -> dict[str, Mapping[str, Any]]:
        """Return how the finished tasks of a campaign ended, by task key."""
        with self._lock:
            stored = self._campaign(campaign)
            return {key: loads(stored.outcomes[key]) for key in stored.tasks if key in stored.outcomes}

    def add_winner(self, winner: Winner, why: str) -> Winner:
        """Keep a winner that no campaign of this store found, such as an imported one."""
        [kept] = self.add_winners([winner], why)
        return kept

    def add_winners(self, winners: Sequence[Winner], why: str) -> list[Winner]:
        """Keep several winners that no campaign of this store found: all of them or none."""
        for winner in winners:
            refusal.require_candidate(winner)
        with self._lock:
            return [self._keep(winner, why) for winner in winners]

    def winners(
        self, *, tunable: str | None = None, state: State | None = State.PROMOTED, place: str | None = None
    ) -> list[Winner]:
        """Return winners, the newest first, of one tunable or of all, in one state or in all (None)."""
        with self._lock:
            return [
                winner
                for winner in reversed(self._winners.values())
                if tunable in (None, winner.task.tunable)
                and state in (None, winner.state)
                and place in (None, winner.task.place)
            ]

    def winner(self, winner: int) -> Winner:
        """Return a winner."""
        with self._lock:
            return self._known(winner)

    def promote(self, winner: int, why: str, *, despite_quarantine: bool = False) -> Winner:
        """Serve a winner from now on; the task's other promoted winner retires."""
        with self._lock:
            place = self._standings(self._known(winner).task.place)
            self._make(standing.promote(place, winner, why, despite_quarantine=despite_quarantine))
            return self._known(winner)

    def quarantine(self, winner: int, why: str) -> Winner:
        """Never serve a winner again, until somebody lifts that."""
        refusal.require_reason(why)
        with self._lock:
            self._make(standing.quarantine(self._standings(self._known(winner).task.place), winner, why))
            return self._known(winner)

    def rollback(self, winner: int, why: str) -> Winner:
        """Quarantine the promoted winner of a task, and promote the one that was promoted before it."""
        refusal.require_reason(why)
        with self._lock:
            moves = standing.rollback(self._standings(self._known(winner).task.place), winner, why)
            self._make(moves)
            return self._known(moves[-1].winner)

    def set_winner_state(self, winner: int, state: State, why: str) -> None:
        """Move a winner to `state`, whatever it was, and append to its history."""
        with self._lock:
            self._make(standing.move(self._standings(self._known(winner).task.place), winner, state, why))

    def history(self, winner: int) -> list[StateChange]:
        """Return a winner's history, oldest first."""
        with self._lock:
            self._known(winner)
            return list(self._histories[winner])

    def peaks(self, device: Device) -> Peaks | None:
        """Return the peaks that were measured last on this model of hardware; None if never."""
        with self._lock:
            return self._peaks.get(device.fingerprint)

    def keep_peaks(self, device: Device, peaks: Peaks) -> None:
        """Keep the peaks of a model of hardware in place of those that were kept before."""
        with self._lock:
            self._peaks[device.fingerprint] = peaks

    def add_misses(self, misses: Sequence[Miss]) -> None:
        """Keep what serving code missed: counts add up for the same kernel, workload and model of hardware."""
        timed = [replace(miss, last_at=moment(miss.last_at)) for miss in misses]
        with self._lock:
            for miss in timed:
                known = self._misses.get(miss.key)
                last = known if known and known.last_at > miss.last_at else miss
                self._misses[miss.key] = replace(last, count=miss.count + (known.count if known else 0))

    def misses(self, *, kernel: str | None = None, limit: int | None = None) -> list[Miss]:
        """Return what was missed, the most often missed first, of one kernel or of all; at most `limit`."""
        with self._lock:
            found = [miss for miss in self._misses.values() if kernel in (None, miss.kernel)]
        return sorted(found, key=lambda miss: (-miss.count, miss.key))[:limit]

    def forget_misses(self, misses: Sequence[Miss]) -> None:
        """Take the counts of `misses` off those that are kept; what is missed meanwhile stays."""
        with self._lock:
            for miss in misses:
                known = self._misses.pop(miss.key, None)
                if known and known.count > miss.count:
                    self._misses[miss.key] = replace(known, count=known.count - miss.count)

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _campaign(self, campaign: str) -> _Campaign:
        if campaign not in self._campaigns:
            raise refusal.unknown_campaign(campaign)
        return self._campaigns[campaign]

    def _trials(self, campaign: str, task: Task) -> dict[int, Trial]:
        stored = self._campaign(campaign)
        if task.key not in stored.tasks:
            raise refusal.unknown_task(campaign, task)
        return stored.trials.setdefault(task.key, {})

    def _known(self, winner: int) -> Winner:
        if winner not in self._winners:
            raise refusal.unknown_winner(winner)
        return self._winners[winner]

    def _keep(self, winner: Winner, why: str) -> Winner:
        for known in self._winners.values():
            if (known.campaign, known.task.key) == (winner.campaign, winner.task.key) and _same_proof(known, winner):
                return known
        task = winner.task
        place = self._standings(task.place)
        new = Newcomer(
            task.key, winner.config.key, winner.state, winner.campaign, purpose_text(winner.evidence.objective)
        )
        state, entry, retired = standing.admit(place, new, why)
        kept = replace(winner, id=len(self._winners) + 1, state=state)
        self._make([Move(other, State.RETIRED, f"replaced by winner {kept.id}") for other in retired])
        self._winners[kept.id] = kept
        self._histories[kept.id] = []
        self._make([Move(kept.id, state, entry)])
        return kept

    def _standings(self, place: str) -> list[Standing]:
        """Return how the winners of a place stand."""
        return [
            Standing(
                one.id,
                one.task.key,
                one.config.key,
                one.state,
                self._histories[one.id][-1].why,
                self._promoted.get(one.id, 0),
                one.campaign,
                purpose_text(one.evidence.objective),
            )
            for one in self._winners.values()
            if one.task.place == place
        ]

    def _make(self, moves: Sequence[Move]) -> None:
        for made in moves:
            self._changes += 1
            self._winners[made.winner] = replace(self._winners[made.winner], state=made.state)
            self._histories[made.winner].append(StateChange(now(), made.state, made.why))
            if made.state is State.PROMOTED:
                self._promoted[made.winner] = self._changes


def _same_proof(one: Winner, other: Winner) -> bool:
    return one.config == other.config and same(one.evidence.to_json(), other.evidence.to_json())
