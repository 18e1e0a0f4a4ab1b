"""A trained policy as a file: JSON and arrays in a zip, no code and no pickle."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.agents.network import ScoringNetwork
from tuner.agents.slate import OBSERVATION_VERSION, SlateShape
from tuner.errors import TunerError
from tuner.file import replacing
from tuner.types import canonical_json, digest

__all__ = ["Policy", "load_policy", "save_policy"]

_FORMAT = "tuner-policy"
_VERSION = 1
# Algorithms whose policies are distributions.
_DRAWING = frozenset({"ppo", "a2c", "maskable_ppo", "exact"})
_METADATA = "policy.json"
_WEIGHTS = "weights.npz"
# A policy's file is some tens of kilobytes; more than this is not one.
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """What was trained, on what, and how.

    Attributes:
        algorithm: `ppo`, `a2c`, `maskable_ppo`, `exact`, or `dqn`, whose scores are values of actions.
        shape: The slates that it chooses from.
        weights: Arrays by name; those of `tuner.agents.network.weight_shapes` and, where there is one, of the critic.
        budget: The most trials that an episode had in training.
        training: The spaces and tasks with their digests, steps, seed, reward: what tells which spaces it has seen.
        versions: Of Python and of the packages that trained it.
    """

    algorithm: str
    shape: SlateShape
    weights: Mapping[str, NDArray[np.float32]]
    budget: int
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def draws(self) -> bool:
        """Whether it was trained to draw configs by the softmax of their scores, rather than to take the best."""
        return self.algorithm in _DRAWING

    @property
    def network(self) -> ScoringNetwork:
        """The network that scores slates.

        Raises:
            TunerError: the weights do not fit the slate's shape.
        """
        return ScoringNetwork(self.shape, self.weights)

    @property
    def fingerprint(self) -> str:
        """Identifies what the policy does and what it was trained on."""
        weights = {
            name: [list(array.shape), array.astype("<f4").tobytes().hex()] for name, array in self.weights.items()
        }
        return digest([self.algorithm, OBSERVATION_VERSION, self.shape.to_json(), dict(self.training), weights])

    def to_json(self) -> dict[str, Any]:
        """Return everything but the weights, as plain data."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "algorithm": self.algorithm,
            "observation": OBSERVATION_VERSION,
            "slate": self.shape.to_json(),
            "budget": self.budget,
            "training": dict(self.training),
            "versions": dict(self.versions),
            "fingerprint": self.fingerprint,
        }


def save_policy(policy: Policy, path: Path) -> None:
    """Write `policy` to `path`; the same policy gives the same bytes.

    Raises:
        TunerError: the file cannot be written.
    """
    arrays = io.BytesIO()
    kept: dict[str, Any] = {name: np.asarray(array, dtype=np.float32) for name, array in sorted(policy.weights.items())}
    np.savez(arrays, **kept)
    try:
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in (
                (_METADATA, canonical_json(policy.to_json()).encode()),
                (_WEIGHTS, arrays.getvalue()),
            ):
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    except OSError as error:
        raise TunerError(f"cannot write {path}: {error.strerror}") from error


def load_policy(path: Path) -> Policy:
    """Return the policy in `path`. Files from anybody may be read: arrays and JSON are all that is looked at.

    Raises:
        TunerError: it cannot be read, is not a policy, was changed, or was trained by another version of observations.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(_member(archive, _METADATA))
            with np.load(io.BytesIO(_member(archive, _WEIGHTS)), allow_pickle=False) as arrays:
                weights = {name: np.asarray(arrays[name], dtype=np.float32) for name in arrays.files}
    except FileNotFoundError as error:
        raise TunerError(f"there is no policy {path}; train one with: tuner train --out {path}") from error
    except OSError as error:
        raise TunerError(f"cannot read {path}: {error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise TunerError(f"{path} is not a policy that tuner train wrote: {error}") from error
    if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
        raise TunerError(f"{path} is not a policy that tuner train wrote: its {_METADATA} says something else")
    if (found := metadata.get("version"), metadata.get("observation")) != (_VERSION, OBSERVATION_VERSION):
        raise TunerError(
            f"{path} is of version {found}, observations {metadata.get('observation')}; this tuner reads {_VERSION}, "
            f"observations {OBSERVATION_VERSION}; train the policy again"
        )
    try:
        policy = Policy(
            algorithm=str(metadata["algorithm"]),
            shape=SlateShape.from_json(metadata["slate"]),
            weights=weights,
            budget=int(metadata["budget"]),
            training=dict(metadata["training"]),
            versions=dict(metadata["versions"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TunerError(f"{path} is not a policy that tuner train wrote: {error!r} in {_METADATA}") from error
    if policy.fingerprint != metadata.get("fingerprint"):
        raise TunerError(f"{path} was changed after it was written: its fingerprint does not match")
    return policy


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a file of the archive, unless it would fill the memory."""
    if (size := archive.getinfo(name).file_size) > _MOST_BYTES:
        raise ValueError(f"{name} has {size} bytes")
    return archive.read(name)
