"""What is logged never holds up who logs it."""

import subprocess
import sys
import time

SCRIPT = """
import logging
from zk.server.logs import LINES_WAITING_MAX, logging_to_stderr
with logging_to_stderr():
    for n in range(2 * LINES_WAITING_MAX):
        logging.getLogger("test").info("line %d", n)
print("done", flush=True)
"""


def test_a_stderr_that_nobody_reads_delays_neither_the_logging_nor_the_end() -> None:
    command = [sys.executable, "-c", SCRIPT]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert process.wait(10) == 0
        assert time.monotonic() - started < 10


def test_lines_that_were_lost_are_counted() -> None:
    script = """
import logging, queue
from zk.server.logs import _Handler
lines = queue.Queue(2)
handler = _Handler(lines)
log = logging.getLogger("test")
log.addHandler(handler)
for n in range(5):
    log.error("line %d", n)
lines.get(), lines.get()
log.error("line 5")
print(lines.get().getMessage(), lines.get().getMessage(), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "3 lines of the log were lost: stderr was not read\nline 5\n"
