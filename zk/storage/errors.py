"""The two ways in which storage gives up. Both are for the operator; neither ever reaches a client."""

from zk.model.errors import ZKError
from zk.model.record import record


@record
class Defect:
    """Where the data contradict themselves or are lost, and how that is known. `offset` counts bytes in `file`."""

    file: str
    offset: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}, offset {self.offset}: {self.why}"


class StorageError(ZKError):
    """The server can't start from this data directory: which file, at which offset, why, and what can be done."""

    def __init__(self, file: str, offset: int, why: str, remedy: str) -> None:
        super().__init__(f"{file}, offset {offset}: {why}. {remedy}")
        self.file = file
        self.offset = offset
        self.why = why
        self.remedy = remedy


class LogFailure(ZKError):  # noqa: N818 (the end of the process, not an error that anyone handles)
    """The log could not be written or synced. What is on disk is unknown now, so the process must end without a word.

    Never retried: after a failed fsync the kernel may report success for pages that it has dropped.
    """
