"""The real disk: files, the lock, and a store on top."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zk.broadcast.records import Record, Recovered
from zk.model.limits import KIB, MIB
from zk.model.record import Epoch
from zk.model.zxids import make_zxid
from zk.storage.direct import BLOCK_BYTES, BUFFER_BYTES, open_direct
from zk.storage.errors import StorageError
from zk.storage.files import open_directory
from zk.storage.segment import Identity
from zk.storage.store import Options, open_store

if TYPE_CHECKING:
    from tests.storage.conftest import Lab

OPTIONS = Options(segment_bytes=2 * MIB, ballast_bytes=64 * KIB, space_low_bytes=0)


def test_a_file_reads_back_what_was_written_anywhere(tmp_path: Path) -> None:
    directory = open_directory(str(tmp_path / "new" / "data"))
    file = directory.create("file", 3 * MIB)
    file.write(10, b"abc")
    file.write(2 * MIB, b"def")
    file.sync()
    directory.rename("file", "renamed")
    file.write(12, b"CD")
    file.close()
    file.close()
    directory.sync_names()
    assert (directory.names(), directory.size("renamed")) == (("renamed",), 3 * MIB)
    assert directory.read("renamed", 8, 8) == b"\0\0abCD\0\0"
    assert directory.read("renamed", 2 * MIB)[:4] == b"def\0"
    assert directory.read("renamed", 3 * MIB - 2, 10) == b"\0\0"
    assert os.stat(tmp_path / "new" / "data" / "renamed").st_blocks * 512 >= 3 * MIB
    directory.truncate("renamed", 12)
    assert directory.read("renamed") == bytes(10) + b"ab"
    directory.remove("renamed")
    assert directory.names() == ()
    assert directory.free_bytes() > 0
    directory.close()


@given(sizes=st.lists(st.integers(0, 3 * BLOCK_BYTES) | st.sampled_from((BLOCK_BYTES, BUFFER_BYTES, BUFFER_BYTES + 5))))
@example(sizes=[1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BUFFER_BYTES + 1, 1])
@settings(max_examples=20, deadline=None)
def test_what_is_appended_past_the_page_cache_reads_back(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    directory = open_directory(str(tmp_path_factory.mktemp("data")))
    pieces = [bytes([number % 255 + 1]) * size for number, size in enumerate(sizes)]
    total = sum(sizes)
    set_aside = (total // BLOCK_BYTES + 2) * BLOCK_BYTES
    file = directory.create("file", set_aside)
    offset = 0
    for piece in pieces:
        file.write(offset, piece)
        offset += len(piece)
        assert directory.read("file", 0, offset) == b"".join(pieces)[:offset]
    file.sync()
    file.close()
    assert directory.read("file") == b"".join(pieces) + bytes(set_aside - total)
    directory.close()


def test_what_can_not_be_written_past_the_page_cache_is_written_through_it() -> None:
    with socket.socket() as refuses:
        assert open_direct(refuses.fileno()) is None


def test_the_files_are_their_owner_s_alone(tmp_path: Path) -> None:
    directory = open_directory(str(tmp_path / "data"))
    directory.create("file").close()
    assert os.stat(tmp_path / "data").st_mode & 0o777 == 0o700
    assert os.stat(tmp_path / "data" / "file").st_mode & 0o777 == 0o600
    directory.close()


def test_a_directory_has_one_user_at_a_time(tmp_path: Path) -> None:
    first = open_directory(str(tmp_path))
    with pytest.raises(StorageError, match=rf"another process \(pid {os.getpid()}\) uses this data directory.*--data"):
        open_directory(str(tmp_path))
    first.close()
    open_directory(str(tmp_path)).close()


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from zk.storage.files import open_directory\n"
        "open_directory(sys.argv[1])\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    open_directory(str(tmp_path)).close()


def test_a_path_that_is_no_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"the data directory can't be opened: .*permission"):
        open_directory(str(tmp_path / "file"))


@pytest.mark.parametrize("harm", [shutil.rmtree, lambda path: path.rename(path.with_name("elsewhere"))])
def test_a_directory_that_is_taken_away_in_use_is_noticed(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    directory = open_directory(str(tmp_path / "data"))
    harm(tmp_path / "data")
    expected = r"/data, offset 0: the data directory was removed, moved or mounted over while .*start with an empty one"
    with pytest.raises(StorageError, match=expected):
        directory.free_bytes()
    (tmp_path / "data").mkdir()  # another one in its place is not this one
    (tmp_path / "data" / "lock").touch()
    with pytest.raises(StorageError, match=expected):
        directory.free_bytes()
    directory.close()


def test_a_store_on_real_files_comes_back(tmp_path: Path, lab: "Lab") -> None:
    uuids = count(1)
    expected: tuple[Record, ...] = ()
    for start in range(0, 90, 30):
        directory = open_directory(str(tmp_path))
        opened = open_store(
            directory,
            Identity("test", lab.identity.server_id),
            lambda: f"disk-{next(uuids)}",
            ensemble=False,
            options=OPTIONS,
        )
        assert opened.recovered == Recovered("disk-1", Epoch(0), opened.recovered.snapshot, expected, False)
        for counter in range(start, start + 30):
            lab.write(opened.store, lab.entries(counter, counter, size=100 * KIB))
        ref = lab.snapshot(opened.store, make_zxid(1, start + 28))
        opened.store.retire()
        opened.store.close()
        expected = (*lab.entries(start + 29, start + 29, size=100 * KIB), ref)
    assert sum(name.startswith("snapshot") for name in os.listdir(tmp_path)) == 2
    assert "log-0000000001" not in os.listdir(tmp_path)
