"""Zab: an Engine. One log is the only authority; rules R1 to R17 are named where they are kept.

Read in this order: zab.py (the class, its dispatch), stance.py (what a role is), election.py, leading.py,
following.py; below them node.py, history.py, durability.py, peer.py.
"""

from zk.broadcast.zab.config import ZabConfig
from zk.broadcast.zab.zab import Zab

__all__ = ["Zab", "ZabConfig"]
