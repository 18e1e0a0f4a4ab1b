"""Inference engines as tunables: the servers they are, the traffic they serve, and what is measured of them.

Nothing here knows campaigns, agents or stores; kernels and runners do not know engines.
"""

from __future__ import annotations
