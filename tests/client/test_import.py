"""What importing the client costs and brings along."""

import os
import subprocess
import sys
from pathlib import Path

FORBIDDEN = {"trio", "typer", "rich", "zk.cli", "zk.server", "zk.tree", "zk.broadcast", "zk.replica"}
SECONDS_MAX = 0.15

SCRIPT = """
import sys, time
began = time.process_time()
import zkclient
print(time.process_time() - began)
print(*sys.modules)
"""


def test_importing_the_client_is_fast_and_brings_no_server_no_cli_and_no_trio(tmp_path: Path) -> None:
    """As where it is installed: the first run compiles, the others find that done."""
    command = [sys.executable, "-c", SCRIPT]
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    runs = [
        subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stdout.splitlines()
        for _ in range(4)
    ]
    modules = set(runs[0][1].split())
    assert {"zkclient.client", "zkclient.recipes.lock"} <= modules
    assert FORBIDDEN & modules == set()
    assert min(float(seconds) for seconds, _ in runs) < SECONDS_MAX
