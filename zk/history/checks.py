"""All that must hold for a history."""

from zk.history.history import History
from zk.history.linearizability import check_linearizability
from zk.history.replay import check_replay
from zk.history.session_order import check_session_order


def check(history: History) -> None:
    """Raises HistoryError, with a readable account, unless the service may have produced `history`."""
    check_session_order(history)
    check_replay(history)
    check_linearizability(history)
