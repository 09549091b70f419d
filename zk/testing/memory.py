"""A data directory in memory: `zk.storage.directory` for a server whose data need not outlive the process."""

import errno

from zk.storage.directory import File


class MemoryFile:
    """A file that is durable as soon as it is written."""

    def __init__(self, size_bytes: int) -> None:
        self.data = bytearray(size_bytes)

    def write(self, offset: int, data: bytes) -> None:
        if len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryDirectory:
    """A directory that lives as long as this object."""

    path = "memory"
    _FREE_BYTES = 1 << 40  # it is never nearly full

    def __init__(self) -> None:
        self._files: dict[str, MemoryFile] = {}

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._files))

    def size(self, name: str) -> int:
        return len(self._find(name).data)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        end = None if length is None else offset + length
        return bytes(self._find(name).data[offset:end])

    def create(self, name: str, size_bytes: int = 0) -> File:
        file = self._files[name] = MemoryFile(size_bytes)
        return file

    def truncate(self, name: str, size_bytes: int) -> None:
        del self._find(name).data[size_bytes:]

    def rename(self, old: str, new: str) -> None:
        self._files[new] = self._find(old)
        del self._files[old]

    def remove(self, name: str) -> None:
        self._find(name)
        del self._files[name]

    def sync_names(self) -> None:
        pass

    def free_bytes(self) -> int:
        return self._FREE_BYTES

    def close(self) -> None:
        pass

    def _find(self, name: str) -> MemoryFile:
        file = self._files.get(name)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return file
