"""Measure every config of a kernel's space, and write a recorded space that `tuner replay` reads.

Usage: python examples/record.py KERNEL WORKLOAD_NAME FILE
"""

import sys
from pathlib import Path

from tuner import Budget, Campaign, Plan, task_of
from tuner.db import MemoryStore
from tuner.db.kernel_tuner import write_cache_file
from tuner.runners import LocalRunner
from tuner.tunable import load


def record(kernel: str, workload: str, path: Path) -> int:
    """Write every config of `kernel` on `workload` to `path`, and return how many there are."""
    task = task_of(kernel, workload)
    space = load(task.tunable).search_space(task.workload, task.device)
    runner, store = LocalRunner(), MemoryStore()
    try:
        campaign = Campaign([task], Plan("exhaustive", Budget(space.size)), runner=runner, store=store)
        campaign.run()
        trials = store.trials(campaign.id, task)
        write_cache_file(path, kernel=task.tunable, device=task.device.name, space=space, trials=trials)
    finally:
        runner.close()
    return len(trials)


if __name__ == "__main__":
    print(record(sys.argv[1], sys.argv[2], Path(sys.argv[3])), "configs recorded")
