"""Disks that are small, or can't be written, and files that are not what was written to them.

A small disk is a tmpfs, which only root may mount: `why_not` says so. Damage needs no rights.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zk.model.limits import MIB


class NoDiskError(Exception):
    """This machine doesn't allow it; the text says why."""


class Disk:
    """A mounted file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.path).free

    def fill(self, but_mib: int = 0) -> None:
        """Take all the room there is, but for so much."""
        with self._filling.open("ab") as file:
            position = file.tell()
            os.posix_fallocate(file.fileno(), position, max(1, self.free_bytes - but_mib * MIB))

    def empty(self) -> None:
        """Give the room back."""
        self._filling.unlink()

    def make_readonly(self) -> None:
        """From now on nothing can be written. Nobody may have a file open for that."""
        _run("mount", "-o", "remount,ro", str(self.path))


@contextmanager
def mount_small_disk(path: Path, size_mib: int) -> Iterator[Disk]:
    """A file system of this size at the directory `path`, which is made. NoDiskError if it can't be mounted."""
    path.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(path))
    try:
        yield Disk(path)
    finally:
        _run("umount", "--lazy", str(path))  # lazy: a server that hangs on it must not keep it for ever


def why_not(directory: Path) -> str:
    """Why no file system can be mounted below `directory`; "" if it can."""
    if os.geteuid() != 0:
        return "only root may mount file systems"
    if shutil.which("mount") is None:
        return "the command mount is missing (Debian's package: mount)"
    try:
        with mount_small_disk(directory / "probe", 1):
            return ""
    except NoDiskError as error:
        return str(error)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoDiskError(f"{' '.join(command)}: {done.stderr.strip()}")


# ---- damage


def used_bytes(path: Path) -> int:
    """How far into the file something was written; segments of the log end with room that was only set aside."""
    return len(path.read_bytes().rstrip(b"\0"))


def flip(path: Path) -> None:
    """Flip a bit in the middle of what was written."""
    middle = used_bytes(path) // 2
    with path.open("r+b") as file:
        file.seek(middle)
        (byte,) = file.read(1)
        file.seek(middle)
        file.write(bytes([byte ^ 0x10]))


def cut(path: Path) -> None:
    """Cut the file off in the middle of what was written."""
    os.truncate(path, used_bytes(path) // 2)
