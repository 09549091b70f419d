"""The whole Python programs of docs/zookeeper.md run as they stand there."""

import re
from pathlib import Path

from zk.server.testing import start_server

PAGE = Path(__file__).parents[2] / "docs" / "zookeeper.md"


def test_every_python_program_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(from .*?)```", PAGE.read_text(), re.DOTALL)
    assert blocks
    with start_server(tmp_path) as server:
        for block in blocks:
            exec(block.replace("127.0.0.1:2181", server.hosts), {})
