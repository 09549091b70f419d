"""What the log asks of a disk: a flat directory of byte-level files, real (`zk.storage.files`) or simulated (`zk.sim`).

Nothing here knows about records. The contract says what survives a power cut, since that is what the log is built on:

- Bytes written to a file are durable after that file's `sync`. Before it, any subset of the written pages may survive,
  in any order, torn at any byte.
- A name that was created, renamed or removed is so durably after `sync_names`. Before it, each such change may or may
  not survive, in any order. A rename replaces its target atomically: the old file or the new one, never neither.
- Every method may raise OSError (ENOSPC, EIO, EACCES, ENOENT); its `filename` names the file. After an error of
  `File.sync` nothing is known about the file's unsynced bytes, not even if a later `sync` succeeds.

Read next: `zk.storage.segment` (what is in a log file), then `zk.storage.store`.
"""

from typing import Protocol


class File(Protocol):
    """A file open for writing at explicit offsets. It follows its file through a rename. Not shared between threads."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`; the file grows if need be, and a gap reads as zeroes.

        After an error any part of `data` may have been written; the same write may be repeated.
        """

    def sync(self) -> None:
        """Return once every byte written so far, and the file's size, survive a power cut."""

    def close(self) -> None:
        """Let go of the file. Says nothing about durability. A second time it does nothing."""


class Directory(Protocol):
    """A directory that this process has to itself. Names are plain file names. Usable from several threads at once."""

    @property
    def path(self) -> str:
        """Where it is, for messages to the operator."""

    def names(self) -> tuple[str, ...]:
        """The names of all files, sorted."""

    def size(self, name: str) -> int:
        """The size of the file in bytes."""

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `offset` on, all up to the end if None; fewer only at the end of the file."""

    def create(self, name: str, size_bytes: int = 0) -> File:
        """An open file of this name with `size_bytes` zeroes for which the disk has set aside space.

        A file that already has the name is emptied first. Raises OSError(ENOSPC), and leaves no file, if there is no
        space for it.
        """

    def truncate(self, name: str, size_bytes: int) -> None:
        """Shorten the file to `size_bytes`. Durable at some later time: until then the file may be long again."""

    def rename(self, old: str, new: str) -> None:
        """Give the file `old` the name `new`, in place of any file that has it."""

    def remove(self, name: str) -> None:
        """Remove the file. Its space may be free only after `sync_names`."""

    def sync_names(self) -> None:
        """Return once every creation, rename and removal so far survives a power cut."""

    def free_bytes(self) -> int:
        """How much more the disk would take. StorageError if the directory is not where it was any more."""

    def close(self) -> None:
        """Let the next process have the directory. A second time it does nothing."""
