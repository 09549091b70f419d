"""Histories of what clients asked and were told, and whether the service may have produced them.

Read `history` (the values) first, then `model` (what a single request means), the checkers `linearizability`, `replay`
and `session_order`, and `recorder`, which makes a history with real clients of real servers.
"""

from zk.history.checks import check
from zk.history.history import History, HistoryError, Operation, Told
from zk.history.recorder import Counts, Recorder

__all__ = ["Counts", "History", "HistoryError", "Operation", "Recorder", "Told", "check"]
