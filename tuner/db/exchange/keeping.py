"""From findings to candidates of a store: all of an import, or nothing of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.db.codec import now
from tuner.db.exchange.finding import Finding
from tuner.db.store import Store
from tuner.errors import TunerError
from tuner.tunable import installed, load
from tuner.types import Config, Evidence, Scalar, State, Winner

__all__ = ["Kept", "candidate_of", "keep"]

_DIGEST = "file_digest"


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of an import.

    Attributes:
        added: The new candidates.
        known: How many findings were there already, from a file of the same content.
    """

    added: tuple[Winner, ...]
    known: int


def keep(store: Store, findings: Sequence[Finding]) -> Kept:
    """Add each finding to `store` as a candidate, in one transaction.

    A finding that the store has from a file of the same content, in whatever state, is left alone, so that importing
    again changes nothing.

    Raises:
        StoreError: the store cannot be written; nothing of the import is there then.
    """
    known = {
        _identity(winner)
        for tunable in {finding.tunable for finding in findings}
        for winner in store.winners(tunable=tunable, state=None)
    }
    at = now()
    fresh: dict[tuple[str, str, str], Winner] = {}
    for finding in findings:
        candidate = candidate_of(finding, at=at)
        if _identity(candidate) not in known:
            fresh.setdefault(_identity(candidate), candidate)
    programs = ", ".join(sorted({finding.origin.program for finding in findings}))
    added = store.add_winners(list(fresh.values()), f"imported from {programs}") if fresh else []
    return Kept(tuple(added), len(findings) - len(added))


def candidate_of(finding: Finding, *, at: str) -> Winner:
    """Return the candidate that a finding is: it says who told it, and claims no speed-up.

    Args:
        finding: What a file tells.
        at: When it was imported: UTC, ISO 8601.

    Example:
        >>> from tuner.db.exchange import Origin
        >>> from tuner.types import Device, Workload
        >>> origin = Origin("vLLM", "E=8,N=512,device_name=X.json", 64 * "0")
        >>> finding = Finding("vllm:fused_moe", Workload(M=1), Device("", "X", "", 1, 0), Config(num_warps=4), origin)
        >>> candidate = candidate_of(finding, at="2026-01-01T00:00:00+00:00")
        >>> candidate.state.value, candidate.evidence.origin, candidate.evidence.rounds
        ('candidate', 'vLLM, E=8,N=512,device_name=X.json, sha256 0000000000000000', 0)
    """
    resources: dict[str, Scalar] = {**finding.details, _DIGEST: finding.origin.digest}
    evidence = Evidence.told(
        finding.origin.text,
        _default(finding),
        measured_at=at,
        environment=finding.origin.versions,
        resources=resources,
        config_seconds=finding.seconds or 0.0,
    )
    return Winner(finding.task, finding.config, evidence, State.CANDIDATE)


def _default(finding: Finding) -> Config:
    """Return the default that the config has to beat; that of a kernel which is not ours is not known."""
    if not _is_ours(finding.tunable):
        return Config()
    try:
        return load(finding.tunable).default(finding.workload, finding.device)
    except TunerError:
        return Config()


@functools.lru_cache(maxsize=256)
def _is_ours(tunable: str) -> bool:
    """Return whether this is an installed kernel; a name like `vllm:...` must not import that program."""
    toolchain, _, name = tunable.partition(":")
    return toolchain in installed().get(name, ())


def _identity(winner: Winner) -> tuple[str, str, str]:
    return winner.task.key, winner.config.key, str(winner.evidence.resources.get(_DIGEST, ""))
