"""Judges agents on recorded spaces: how close to the optimum they come, after how many evaluations, with which history.

Nothing here measures anything; a config's trial is what was recorded of it.
"""

from tuner.replay.prior import LeaveOut, Prior, priors_of, require_priors
from tuner.replay.score import Estimate, Score, differences, estimates, proposal_time
from tuner.replay.tournament import Rules, judge

__all__ = [
    "Estimate",
    "LeaveOut",
    "Prior",
    "Rules",
    "Score",
    "differences",
    "estimates",
    "judge",
    "priors_of",
    "proposal_time",
    "require_priors",
]
