"""`zk ensemble up`: a whole ensemble in one terminal, for development and for trying things out.

Every server is a real `zk server` process with its own port, data directory and log; this process only starts them,
shows their logs with a prefix, and stops them. It is synchronous on purpose: one thread per log, one wait for a signal.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from zk.cli import lifeline
from zk.cli.output import note
from zk.model.record import record

PEER_PORT_OFFSET = 100  # servers talk to each other at the client port plus this
COLOURS = (36, 33, 35, 32, 34, 31, 37)  # ANSI foregrounds, one per server


@record
class Member:
    """One server of a local ensemble and where it is reached."""

    id: int
    port: int
    peer_port: int
    data: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def plan(size: int, base_port: int, data: Path) -> tuple[Member, ...]:
    """The members of an ensemble of `size` on consecutive ports from `base_port`, with data in data/s1, data/s2 …"""
    return tuple(
        Member(n, base_port + n - 1, base_port + PEER_PORT_OFFSET + n - 1, data / f"s{n}") for n in range(1, size + 1)
    )


def server_arguments(member: Member, members: Sequence[Member], *options: str) -> list[str]:
    """How python runs this member as a `zk server` that ends with its parent."""
    peers = [part for other in members for part in ("--peer", f"{other.id}=127.0.0.1:{other.peer_port}")]
    return [
        *("-m", "zk.cli", "server", "--stop-on-eof", "--id", str(member.id)),
        *("--listen", member.address, "--data", str(member.data), *peers, *options),
    ]


def connect_string(members: Sequence[Member]) -> str:
    return ",".join(member.address for member in members)


@contextlib.contextmanager
def data_directory(wanted: Path | None) -> Iterator[Path]:
    """The directory asked for, or a temporary one that is said now and gone afterwards."""
    if wanted is not None:
        yield wanted
        return
    temporary = Path(tempfile.mkdtemp(prefix="zk-ensemble-"))
    note(f"data in {temporary}, removed at the end (--data DIR keeps it)")
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def up(size: int, base_port: int, data: Path | None) -> int:
    """Run an ensemble until Ctrl-C or SIGTERM. The exit code: 0 if asked to stop, 1 if all servers ended."""
    signal.signal(signal.SIGTERM, _interrupt)
    with data_directory(data) as directory:
        members = plan(size, base_port, directory)
        children: list[subprocess.Popen[str]] = []
        try:
            children.extend(lifeline.spawn(server_arguments(each, members), subprocess.PIPE) for each in members)
            _show_logs(children, lambda: _announce(members))
            note("all servers have ended")
        except KeyboardInterrupt:
            note("stopping")
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second Ctrl-C of an impatient hand: already on it
            return 0
        finally:
            lifeline.stop_all(children)
    return 1


def _announce(members: Sequence[Member]) -> None:
    print(connect_string(members), flush=True)
    note(f"{len(members)} servers serve; try: zk status --server {connect_string(members)}; Ctrl-C stops them")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show_logs(children: Sequence["subprocess.Popen[str]"], all_serve: Callable[[], None]) -> None:
    """Print what the servers say, line by line, until all of them have ended; tell once when all of them serve."""
    coloured = sys.stderr.isatty()
    waited_for = set(range(1, len(children) + 1))
    lock = threading.Lock()

    def heard(number: int, line: str) -> None:
        with lock:
            if number in waited_for and line.rstrip().endswith(": serving"):
                waited_for.remove(number)
                if not waited_for:
                    all_serve()

    def show(number: int, child: "subprocess.Popen[str]") -> None:
        prefix = f"s{number}| "
        if coloured:
            prefix = f"\x1b[{COLOURS[(number - 1) % len(COLOURS)]}m{prefix}\x1b[0m"
        assert child.stdout is not None
        for line in child.stdout:
            sys.stderr.write(f"{prefix}{line}")
            sys.stderr.flush()
            heard(number, line)
        code = child.wait()
        sys.stderr.write(f"{prefix}ended, {f'killed by signal {-code}' if code < 0 else f'exit code {code}'}\n")

    threads = [
        threading.Thread(target=show, args=(number, child), name=f"log-s{number}", daemon=True)
        for number, child in enumerate(children, start=1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
