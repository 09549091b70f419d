"""A simulated disk: the byte-level `Directory` of `zk.storage.directory`, which forgets exactly what it may forget.

It keeps two images: what the running process sees, and what a power cut leaves; between them, the changes since the
last fsync. At a power cut a random part of those changes survives, page by page, torn anywhere, in any order. Faults
come on demand: a power cut in the midst of an operation, errors, a full disk (`capacity_bytes`), damage at rest, a
wipe, an old image.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

PAGE_BYTES = 4_096
CAPACITY_BYTES = 1 << 40
"""More than any simulated server will ever write."""


class PowerCut(BaseException):
    """The machine stopped in the midst of a disk operation. No `Exception`: no code survives to handle it."""


@dataclass(slots=True)
class _Write:
    offset: int
    data: bytes


@dataclass(slots=True)
class _Resize:
    size: int


@dataclass(slots=True)
class _Image:
    """A file's bytes; those from len(data) up to `size` are zeroes."""

    data: bytearray = field(default_factory=bytearray)
    size: int = 0

    def apply(self, change: _Write | _Resize) -> None:
        if isinstance(change, _Resize):
            self.size = change.size
            del self.data[change.size :]
            return
        end = change.offset + len(change.data)
        if len(self.data) < change.offset:
            self.data.extend(bytes(change.offset - len(self.data)))
        self.data[change.offset : end] = change.data
        self.size = max(self.size, end)


@dataclass(slots=True, eq=False)
class _Inode:
    seen: _Image = field(default_factory=_Image)
    durable: _Image = field(default_factory=_Image)
    unsynced: list[_Write | _Resize] = field(default_factory=list)

    def change(self, change: _Write | _Resize) -> None:
        self.seen.apply(change)
        self.unsynced.append(change)

    def sync(self) -> None:
        for change in self.unsynced:
            self.durable.apply(change)
        self.unsynced.clear()

    def power_cut(self, random: Random) -> None:
        """Keep all that was synced, and of the rest nothing, all, a beginning, or any pages at all."""
        changes = self.unsynced
        match random.randrange(4):
            case 0:
                changes = []
            case 1 if changes:
                changes = changes[: random.randrange(len(changes) + 1)]
                changes[-1:] = [_torn(change, random) for change in changes[-1:]]
            case 2:
                changes = [page for change in changes for page in _pages(change) if random.random() < 0.5]
                changes = [_torn(page, random) if random.randrange(8) == 0 else page for page in changes]
        for change in changes:
            self.durable.apply(change)
        self.seen = _Image(bytearray(self.durable.data), self.durable.size)
        self.unsynced.clear()


def _pages(change: _Write | _Resize) -> list[_Write | _Resize]:
    """The parts of a write that reach the disk one by one."""
    if isinstance(change, _Resize):
        return [change]
    end = change.offset + len(change.data)
    cuts = [change.offset, *range((change.offset // PAGE_BYTES + 1) * PAGE_BYTES, end, PAGE_BYTES), end]
    return [_Write(start, change.data[start - change.offset : stop - change.offset]) for start, stop in pairwise(cuts)]


def _torn(change: _Write | _Resize, random: Random) -> _Write | _Resize:
    if isinstance(change, _Resize) or not change.data:
        return change
    return _Write(change.offset, change.data[: random.randrange(len(change.data) + 1)])


class _OpenFile:
    """The `File` of this disk."""

    def __init__(self, disk: "Disk", inode: _Inode, name: str) -> None:
        self._disk = disk
        self._inode = inode
        self._name = name

    def write(self, offset: int, data: bytes) -> None:
        self._disk.begin("write", self._name)
        self._disk.reserve(offset + len(data) - self._inode.seen.size, self._name)
        self._inode.change(_Write(offset, bytes(data)))

    def sync(self) -> None:
        self._disk.begin("sync", self._name)
        self._inode.sync()

    def close(self) -> None:
        pass


class Disk:
    """One server's data directory. It outlives the server's process; what survives a power cut is drawn from
    `random`."""

    def __init__(self, random: Random, path: str = "disk", capacity_bytes: int = CAPACITY_BYTES) -> None:
        self.path = path
        self.capacity_bytes = capacity_bytes
        self.operations = 0
        self.errors_raised = 0
        self._random = random
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._unsynced_names: list[tuple[str, str, _Inode | None]] = []  # (name that goes, name that comes, file)
        self._errors: dict[str, tuple[int, str]] = {}
        self._cut_at: int | None = None

    # ---- Directory

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._names))

    def size(self, name: str) -> int:
        return self._find(name).seen.size

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.begin("read", name)
        image = self._find(name).seen
        end = image.size if length is None else min(image.size, offset + length)
        found = bytes(image.data[offset:end])
        return found + bytes(max(0, end - offset - len(found)))

    def create(self, name: str, size_bytes: int = 0) -> _OpenFile:
        self.begin("create", name)
        inode = self._names.get(name)
        self.reserve(size_bytes - (inode.seen.size if inode is not None else 0), name)
        if inode is None:
            inode = self._names[name] = _Inode()
            self._unsynced_names.append(("", name, inode))
        else:
            inode.change(_Resize(0))
        if size_bytes:
            inode.change(_Resize(size_bytes))
        return _OpenFile(self, inode, name)

    def truncate(self, name: str, size_bytes: int) -> None:
        self.begin("truncate", name)
        self._find(name).change(_Resize(size_bytes))

    def rename(self, old: str, new: str) -> None:
        self.begin("rename", old)
        inode = self._names[new] = self._find(old)
        del self._names[old]
        self._unsynced_names.append((old, new, inode))

    def remove(self, name: str) -> None:
        self.begin("remove", name)
        self._find(name)
        del self._names[name]
        self._unsynced_names.append((name, "", None))

    def sync_names(self) -> None:
        self.begin("sync_names", "")
        self._durable_names = dict(self._names)
        self._unsynced_names.clear()

    def free_bytes(self) -> int:
        return max(0, self.capacity_bytes - self.used_bytes())

    def close(self) -> None:
        pass

    # ---- faults

    def power_cut(self) -> None:
        """The machine stops. What was not synced survives in part."""
        names = self._durable_names
        keep_all = self._random.random() < 0.3
        for goes, comes, inode in self._unsynced_names:
            if keep_all or self._random.random() < 0.5:
                if goes:
                    names.pop(goes, None)
                if inode is not None:
                    names[comes] = inode
        self._names = dict(names)
        self._unsynced_names.clear()
        for inode in self._names.values():
            inode.power_cut(self._random)
        self.forget_faults()

    def kill(self) -> None:
        """Only the process stops: what it wrote survives, though no sync has made it durable."""
        self.forget_faults()

    def cut_power_after(self, operations: int) -> None:
        """Raise PowerCut from the operation after so many more, and from all behind it, until `power_cut` or `kill`."""
        self._cut_at = self.operations + operations

    def fail_next(self, operation: str, code: int = errno.EIO, beginning: str = "") -> None:
        """The next such operation ('write', 'sync', 'create', 'read' …) on a file whose name begins so raises OSError
        with this code."""
        self._errors[operation] = code, beginning

    def forget_faults(self) -> None:
        """Nothing fails any more."""
        self._cut_at = None
        self._errors.clear()

    def used_bytes(self) -> int:
        """How much all files take."""
        return sum(inode.seen.size for inode in self._names.values())

    def written_bytes(self, name: str) -> int:
        """How far the file was ever written: behind it there are only zeroes."""
        return len(self._find(name).seen.data)

    def damage(self, name: str, offset: int, data: bytes) -> None:
        """Bytes change at rest, behind everyone's back: a flipped bit, zeroes, another sector."""
        inode = self._find(name)
        for image in (inode.seen, inode.durable):
            image.apply(_Write(offset, data))

    def shorten(self, name: str, size_bytes: int) -> None:
        """The file ends earlier, behind everyone's back."""
        inode = self._find(name)
        for image in (inode.seen, inode.durable):
            image.apply(_Resize(min(size_bytes, image.size)))

    def wipe(self) -> None:
        """Somebody put an empty disk in place of this one."""
        self._names, self._durable_names = {}, {}
        self._unsynced_names.clear()

    def image(self) -> dict[str, bytes]:
        """A copy of all files as the process sees them now, to `restore` later."""
        return {
            name: bytes(inode.seen.data) + bytes(inode.seen.size - len(inode.seen.data))
            for name, inode in self._names.items()
        }

    def restore(self, image: Mapping[str, bytes]) -> None:
        """Somebody copied an old backup over this disk, and nothing of what was there is left."""
        self.wipe()
        for name, data in image.items():
            self.create(name).write(0, data)
            self._names[name].sync()
        self.sync_names()

    # ---- inside

    def begin(self, operation: str, name: str) -> None:
        """Every operation asks whether it may happen."""
        if self._cut_at is not None and self.operations >= self._cut_at:
            raise PowerCut(f"{operation} {name}")
        self.operations += 1
        if operation in self._errors:
            code, beginning = self._errors[operation]
            if name.startswith(beginning):
                del self._errors[operation]
                self.errors_raised += 1
                raise OSError(code, errno.errorcode[code], name)

    def reserve(self, size_bytes: int, name: str) -> None:
        """Raise ENOSPC unless the disk takes so many bytes more."""
        if size_bytes > 0 and self.capacity_bytes < CAPACITY_BYTES and size_bytes > self.free_bytes():
            self.errors_raised += 1
            raise OSError(errno.ENOSPC, "no space left on the simulated disk", name)

    def _find(self, name: str) -> _Inode:
        inode = self._names.get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return inode
