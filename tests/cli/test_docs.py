"""The examples of docs/cli.md are what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

from zk.server.testing import start_server

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def as_pattern(expected: str) -> str:
    """`...` in an example stands for anything on its line."""
    return re.escape(expected).replace(r"\.\.\.", ".*")


def test_every_example_does_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    with start_server(tmp_path / "data") as server:
        environment = os.environ | {
            "ZK_SERVER": str(server.address),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks), re.MULTILINE):
            ran = subprocess.run(
                command, shell=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            shown = ran.stdout if not ran.stdout or ran.stdout.endswith("\n") else ran.stdout + "\n"
            if ran.returncode:
                shown += f"[{ran.returncode}]\n"
            assert re.fullmatch(as_pattern(expected), shown), f"$ {command}\n{shown}"
