"""Clocks of a server's own: a wall clock that a test sets while the server runs, and an uptime of another machine.

    clock = WallClock(tmp_path / "clock")
    ServerProcess(..., prefix=clock.prefix)
    clock.set_ahead(86_400)                   # a day, from now on

The wall clock is set where the interpreter hands it out, `time.time` and `time.time_ns`, by a `sitecustomize` module:
code that asks the system in another way sees the system's time. (libfaketime, which does it below the interpreter,
also comes between the interpreter's threads and their waiting: servers stand still for seconds.) Durations are not
changed: they are measured by the monotonic clock, which nobody can set on a real machine either. But machines are not
started together, which is what a time namespace is for: `uptime_prefix`.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

_UPTIME_DOUBT_S = 1_000.0
_OFFSET_BYTES = 8
_MODULE = """
import mmap
import time

with open({file!r}, "rb") as file:
    offset_ns = mmap.mmap(file.fileno(), {size}, access=mmap.ACCESS_READ)
system_ns = time.time_ns


def time_ns():
    return system_ns() + int.from_bytes(offset_ns[:], "little", signed=True)


time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
"""


class WallClock:
    """What `prefix` runs reads this clock. It is right until it is set otherwise. `directory` is made for it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        file = directory / "offset"
        file.write_bytes(bytes(_OFFSET_BYTES))
        (directory / "sitecustomize.py").write_text(_MODULE.format(file=str(file), size=_OFFSET_BYTES))
        places = [str(directory), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self.prefix = ("env", f"PYTHONPATH={os.pathsep.join(filter(None, places))}")
        self._file = file

    def set_ahead(self, seconds: float) -> None:
        """From now on the clock is so much ahead of the system's; behind it, if negative."""
        with self._file.open("r+b", buffering=0) as file:  # in place, and at once: servers have it mapped
            file.write(round(seconds * 1e9).to_bytes(_OFFSET_BYTES, "little", signed=True))

    def set_to(self, unix_s: float) -> None:
        """It is that time now, and the clock goes on from there."""
        self.set_ahead(unix_s - time.time())


def uptime_prefix(uptime_s: float) -> tuple[str, ...]:
    """What it runs finds itself on a machine that was started so long ago: its monotonic clock says so."""
    shift = round(uptime_s - time.monotonic())
    return ("unshare", "--time", "--monotonic", str(shift), "--boottime", str(shift))


def why_no_uptime() -> str:
    """Why a process can't be given another uptime here; "" if it can."""
    if os.geteuid() != 0:
        return "only root may make time namespaces"
    wanted_s = time.monotonic() + 1_000_000
    command = [*uptime_prefix(wanted_s), sys.executable, "-c", "import time; print(time.monotonic())"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "the command unshare is missing (Debian's package util-linux)"
    if done.returncode != 0:
        return f"no time namespaces: {done.stderr.strip()}"
    if abs(float(done.stdout) - wanted_s) > _UPTIME_DOUBT_S:
        return "this kernel's time namespaces begin only with a child, not with the next program (Linux 6.3 and later)"
    return ""
