"""Kernel Tuner's cache files, which are what recordings are: results of a search, with the values of its parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tuner.db.exchange.document import file_digest
from tuner.db.exchange.finding import Content, Origin, Reading, Request, Selection, Writing, named_device
from tuner.db.exchange.t4 import best_finding
from tuner.db.kernel_tuner import read_cache_file, read_recording, write_cache_file
from tuner.errors import ExchangeError
from tuner.types import Task, Trial, Workload

__all__ = ["KernelTunerFiles"]


class KernelTunerFiles:
    """Reads and writes cache files of Kernel Tuner, `.json`, or for ours to read `.json.gz`.

    Example:
        >>> KernelTunerFiles().program
        'Kernel Tuner'
    """

    program = "Kernel Tuner"
    about = "a cache file: every config with its time, as simulation mode reads it"
    content = Content.TRIALS

    def takes(self, tunable: str) -> bool:
        """Return True: the other choices say of which kernel it is to be."""
        return True

    def read(self, path: Path, request: Request) -> Reading:
        """Return all results, and the fastest as a finding.

        Raises:
            StoreError: the file cannot be read or is not a cache file; the message names the field.
        """
        digest = file_digest(path)
        recorded = read_cache_file(path)
        task, ours = recorded.task, bool(recorded.task.device.arch)
        if ours:
            task, all_trials = read_recording(path)
            trials = tuple(all_trials)
        else:
            trials = tuple(
                Trial(config, measurement, number=number)
                for number, (config, measurement) in enumerate(recorded.measurements.items())
            )
            task = Task(
                request.kernel or task.tunable,
                "",
                # The problem's sizes have no names: who names them says what the workload is.
                Workload(request.fields) if request.fields else task.workload,
                request.device or named_device(task.device.name),
            )
        origin = Origin("tuner" if ours else self.program, path.name, digest)
        findings, notes = best_finding(task, trials, origin)
        return Reading(findings, recorded.space, trials, task, notes, origin)

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write the trials of the selected search.

        Raises:
            ExchangeError: none is selected.
            StoreError: the file cannot be written, or a parameter is called like what an entry holds.
        """
        search = selection.search
        if search is None or not search.trials:
            raise ExchangeError("a cache file holds the results of one search: say whose, with --campaign")
        # Readers take the first entry for the default.
        trials = sorted(search.trials, key=lambda trial: trial.config != search.space.default)
        numbered = [replace(trial, number=number) for number, trial in enumerate(trials)]
        write_cache_file(path, search.task, search.space, numbered)
        notes = () if path.suffix != ".gz" else ("Kernel Tuner does not read compressed files; name it .json for that",)
        return Writing((path,), len(trials), notes)
