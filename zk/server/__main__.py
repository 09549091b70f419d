"""`python -m zk.server`: one server with the fewest imports. The `zk server` command takes the same settings."""

import argparse
import os
import sys
from pathlib import Path

from zk.server.config import ConfigError, load_config


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m zk.server", description="Serve one server of a zk ensemble.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file with any of these settings, and more")
    parser.add_argument("--id", help="this server's number among the peers (1)")
    parser.add_argument("--cluster", metavar="NAME", help="the name of the ensemble (zk)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where clients connect (127.0.0.1:2181)")
    parser.add_argument("--data", metavar="DIR", help="the directory of log and snapshots (./zk-data)")
    parser.add_argument(
        "--peer",
        dest="peers",
        action="append",
        metavar="ID=HOST:PORT",
        help="repeated for every voter, this server included; without it the server is alone",
    )
    parser.add_argument("--tick-ms", help="the unit of session timeouts (2000)")
    parser.add_argument("--session-timeout-ms", metavar="MIN:MAX", help="what clients may ask for (2 to 20 ticks)")
    flags = vars(parser.parse_args())
    try:
        config = load_config(flags.pop("config"), os.environ, flags)
    except ConfigError as error:
        parser.exit(2, f"{error}\n")

    from zk.server.server import run  # only now: a mistake is told at once

    return run(config)


if __name__ == "__main__":
    sys.exit(main())
