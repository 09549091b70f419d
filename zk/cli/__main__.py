"""`python -m zk.cli` is the `zk` command."""

from zk.cli.main import run

run()
