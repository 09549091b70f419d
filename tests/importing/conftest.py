"""Data directories that real servers of Apache ZooKeeper left when they were killed, and what a client had read from
them just before (tests/data/zookeeper)."""

import json
import lzma
import tarfile
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from zk.importing.source import Source
from zk.model.paths import parent

DATA = Path(__file__).parents[1] / "data" / "zookeeper"
Expected = dict[str, dict[str, Any]]  # what was read of each path: "stat", "acl", "sha256" of the data


def unpack(name: str, into: Path) -> Path:
    with tarfile.open(DATA / f"{name}-data.tar.xz") as archive:
        archive.extractall(into, filter="data")
    return into


def expected(name: str) -> Expected:
    with lzma.open(DATA / f"{name}-expected.json.xz") as file:
        read: Expected = json.load(file)
    return read


def without_zeros(directory: Path) -> None:
    """Take the blocks of zeros from the ends of the logs, as far as they are of no interest."""
    for log in directory.glob("log.*"):
        log.write_bytes(log.read_bytes().rstrip(b"\0") + bytes(64))


def as_read(source: Source) -> Expected:
    """The source in the form of what was read."""
    return {
        path: {
            "stat": {
                "czxid": znode.czxid,
                "mzxid": znode.mzxid,
                "ctime": znode.ctime,
                "mtime": znode.mtime,
                "version": znode.version,
                "cversion": znode.stat.cversion,
                "aversion": znode.aversion,
                "ephemeralOwner": 0,
                "dataLength": len(znode.data),
                "numChildren": znode.num_children,
                "pzxid": znode.pzxid,
            },
            "acl": [[entry.perms, entry.scheme, entry.id] for entry in znode.acl],
            "sha256": sha256(znode.data).hexdigest(),
        }
        for path, znode in source.znodes.items()
    }


def without_ephemerals(read: Expected) -> Expected:
    """What was read, as it is once the ephemerals are gone: a parent has fewer children, which is one change each."""
    ephemerals = {path for path, node in read.items() if node["stat"]["ephemeralOwner"]}
    gone = Counter(parent(path) for path in ephemerals)
    left = {}
    for path, node in read.items():
        if path not in ephemerals:
            stat = node["stat"]
            stat = {
                **stat,
                "numChildren": stat["numChildren"] - gone[path],
                "cversion": stat["cversion"] + gone[path],
            }
            left[path] = {**node, "stat": stat}
    return left


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a ZooKeeper 3.8 that held a bit of everything; not to be written to."""
    directory = unpack("zookeeper-3.8", tmp_path_factory.mktemp("zookeeper")) / "data" / "version-2"
    without_zeros(directory)
    return directory


@pytest.fixture(scope="session")
def real_read() -> Expected:
    return without_ephemerals(expected("zookeeper-3.8"))


@pytest.fixture
def copy(real: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    directory = tmp_path / "version-2"
    directory.mkdir()
    for file in real.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    return directory
