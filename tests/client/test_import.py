"""What importing the client costs and brings along."""

import subprocess
import sys

FORBIDDEN = {"trio", "typer", "rich", "zk.cli", "zk.server", "zk.tree", "zk.broadcast", "zk.replica"}
SECONDS_MAX = 0.15

SCRIPT = """
import sys, time
began = time.process_time()
import zkclient
print(time.process_time() - began)
print(*sys.modules)
"""


def test_importing_the_client_is_fast_and_brings_no_server_no_cli_and_no_trio() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True).stdout.splitlines()
        for _ in range(3)
    ]
    modules = set(runs[0][1].split())
    assert {"zkclient.client", "zkclient.recipes.lock"} <= modules
    assert FORBIDDEN & modules == set()
    assert min(float(seconds) for seconds, _ in runs) < SECONDS_MAX
