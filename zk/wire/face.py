"""What a client's protocol is to a server: bytes that become calls, and answers that become bytes."""

from abc import ABC, abstractmethod

from zk.model.events import WatchEvent
from zk.model.replies import Reply
from zk.model.requests import Call


class Face(ABC):
    """The server's end of one connection, without I/O."""

    @abstractmethod
    def receive(self, data: bytes) -> list[Call]:
        """The calls that `data` completes. ProtocolError: send its farewell, then close."""

    @abstractmethod
    def greeting(self) -> bytes:
        """What is to be sent before any answer, once it is known; given out once."""

    @abstractmethod
    def send(self, items: list[Reply | WatchEvent]) -> bytes:
        """The bytes of answers and events, in this order."""
