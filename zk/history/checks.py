"""All that must hold for a history."""

from zk.history.history import History
from zk.history.replay import check_replay


def check(history: History) -> None:
    """Raises HistoryError, with a readable account, unless the service may have produced `history`."""
    check_replay(history)
