"""The real disk: `Directory` over os calls. Knows what fsync, rename and fallocate promise; nothing of logs."""

import contextlib
import errno
import fcntl
import os
import sys

from zk.model.limits import MIB
from zk.storage.direct import BLOCK_BYTES, aligned, open_direct
from zk.storage.errors import StorageError

LOCK = "lock"
ZEROES = aligned(1 * MIB)


class RealFile:
    """A file open for writing. Ahead of the first write into space that was only set aside, it writes zeroes there.

    Without that, each fsync behind a write into untouched space has to commit file-system metadata too, which about
    doubles its cost; zeroing a whole segment at once would stall the log at each rotation instead.

    Where space was set aside, it is written past the page cache, as long as each write begins where the one before
    ended.
    """

    def __init__(self, path: str, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._zeroed_bytes = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _set_aside(self._fd, size_bytes)
        except OSError as error:
            os.close(self._fd)
            os.remove(path)
            raise OSError(error.errno, error.strerror, path) from error
        self._direct = open_direct(self._fd) if size_bytes and size_bytes % BLOCK_BYTES == 0 else None

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        try:
            while self._zeroed_bytes < min(end, self._size_bytes):
                step = min(len(ZEROES), self._size_bytes - self._zeroed_bytes)
                self._zeroed_bytes += os.pwrite(self._fd, ZEROES[:step], self._zeroed_bytes)
            if self._direct is not None:
                if offset == self._direct.end:
                    self._direct.append(data)
                    return
                self._direct.stop()
                self._direct = None
            written = os.pwrite(self._fd, data, offset)
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], offset + written)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error

    def sync(self) -> None:
        try:
            _sync(self._fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RealDirectory:
    """An existing directory, without the lock: `open_directory` makes one that this process has to itself."""

    def __init__(self, path: str, lock_fd: int) -> None:
        self._path = path
        self._lock_fd = lock_fd

    @property
    def path(self) -> str:
        return self._path

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(entry.name for entry in os.scandir(self._path) if entry.is_file() and entry.name != LOCK))

    def size(self, name: str) -> int:
        return os.stat(self._at(name)).st_size

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with open(self._at(name), "rb", buffering=0) as file:
            left = os.fstat(file.fileno()).st_size - offset
            left = max(0, left if length is None else min(left, length))
            file.seek(offset)
            pieces = []
            while left > 0:
                piece = file.read(left)  # one system call gives at most 2 GiB
                if not piece:
                    break
                pieces.append(piece)
                left -= len(piece)
        return b"".join(pieces)

    def create(self, name: str, size_bytes: int = 0) -> RealFile:
        return RealFile(self._at(name), size_bytes)

    def truncate(self, name: str, size_bytes: int) -> None:
        os.truncate(self._at(name), size_bytes)

    def rename(self, old: str, new: str) -> None:
        os.rename(self._at(old), self._at(new))

    def remove(self, name: str) -> None:
        os.remove(self._at(name))

    def sync_names(self) -> None:
        _sync_directory(self._path)

    def free_bytes(self) -> int:
        self._check_place()
        found = os.statvfs(self._path)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _check_place(self) -> None:
        """Open files live on after their directory was removed, and take everything: nothing else would tell."""
        try:
            if os.path.samestat(os.stat(self._at(LOCK)), os.fstat(self._lock_fd)):
                return
        except FileNotFoundError:
            pass
        raise StorageError(
            self._path,
            0,
            "the data directory was removed, moved or mounted over while this server used it",
            "Put it back if it still exists. If it is gone, start with an empty one: the other servers of an ensemble"
            " give this one all they have, but a server alone has lost its data.",
        )

    def _at(self, name: str) -> str:
        return os.path.join(self._path, name)


def open_directory(path: str) -> RealDirectory:
    """The directory at `path`, made durably if it is not there, and locked against every other process.

    Raises StorageError if another process has it, or if it can't be made or read.
    """
    path = os.path.abspath(path)
    try:
        _make(path)
        lock_fd = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            str(error.filename or path),
            0,
            f"the data directory can't be opened: {error.strerror}",
            "Give this user read and write permission on the directory and its files, or name another one with --data.",
        ) from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock_fd, 32, 0).decode("ascii", "replace").strip()
        os.close(lock_fd)
        raise StorageError(
            os.path.join(path, LOCK),
            0,
            f"another process{f' (pid {holder})' if holder else ''} uses this data directory",
            "Stop that server first, or give this one a directory of its own with --data.",
        ) from error
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
    return RealDirectory(path, lock_fd)


def _make(path: str) -> None:
    """Make `path` and what is missing above it, each one durable in its parent before the next."""
    parent = os.path.dirname(path)
    if not os.path.isdir(path):
        _make(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    with contextlib.suppress(PermissionError):  # a parent that we may not read is not one that we made
        _sync_directory(parent)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


if sys.platform == "darwin":  # fsync does not reach the platter there, and fallocate is missing

    def _sync(fd: int) -> None:
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

    def _set_aside(fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

else:
    _sync = os.fdatasync  # with the file's size, without its times

    def _set_aside(fd: int, size_bytes: int) -> None:
        if size_bytes == 0:
            return
        try:
            os.posix_fallocate(fd, 0, size_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            os.ftruncate(fd, size_bytes)  # a file system without the call: writing the zeroes will set it aside
