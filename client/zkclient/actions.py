"""What the session machine wants done: it queues these, and the driver performs them, in order."""

from zk.model.errors import ZKError
from zk.model.events import WatchEvent
from zk.model.record import record
from zkclient.calls import Outcome, Settle
from zkclient.results import State
from zkclient.watchers import Notified


@record
class Open:
    """Connect to `server` ('host:port'); report `connected` or `disconnected`."""

    server: str


@record
class Close:
    """Drop the connection, or the attempt to make one. There is nothing to report."""


@record
class Settled:
    """A call is over: `settle(outcome)`."""

    settle: Settle
    outcome: Outcome


@record
class Notify:
    """`notified(event)`; an error instead of an event says that a stream can't be had."""

    notified: Notified
    event: WatchEvent | ZKError


@record
class StateChanged:
    state: State


Action = Open | Close | Settled | Notify | StateChanged
