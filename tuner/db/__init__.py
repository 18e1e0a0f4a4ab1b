"""Where campaigns, trials and winners are kept: the `Store` protocol, in memory and in SQL.

Importing this folder imports no SQLAlchemy; `sql.py` and what it is made of do. Nothing here runs or proposes anything.
"""

from tuner.db.memory import MemoryStore
from tuner.db.store import CampaignRecord, CampaignState, StateChange, Store

__all__ = ["CampaignRecord", "CampaignState", "MemoryStore", "StateChange", "Store"]
