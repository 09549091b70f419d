"""Processes that must not outlive the one that started them.

The parent holds the writing end of a pipe that is the child's stdin and never writes to it. When the parent ends, by
whatever cause (also SIGKILL), the system closes the pipe, the child reads the end of the file and stops itself. It
needs no signal that could be missed, works on every POSIX system, and survives a parent that is only paused.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence

STOP_GRACE_S = 3.0  # a server hands over and drains within 2 s; what is still there after this is killed


def spawn(arguments: Sequence[str], output: int | None = None) -> "subprocess.Popen[str]":
    """Start `python ARGUMENTS…` as a child on a lifeline, in a process group of its own: a Ctrl-C at the terminal
    reaches only the parent, which stops its children in order. What lies in the working directory is not imported
    (`-P`), whatever its name. `output` is where stdout and stderr go."""
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        text=True,
        errors="replace",
        process_group=0,
    )


def follow() -> None:
    """In the child: ask this process to stop when stdin ends, and end it for certain a little later."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def stop_all(children: Iterable["subprocess.Popen[str]"]) -> None:
    """Stop them together: SIGTERM, and after the grace SIGKILL. All have ended when this returns."""
    running = [child for child in children if child.poll() is None]
    for child in running:
        child.terminate()
    deadline = time.monotonic() + STOP_GRACE_S
    for child in running:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
