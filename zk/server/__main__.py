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
    parser.add_argument(
        "--container-check-ms", metavar="MS", help="how often containers and TTL nodes are looked after"
    )
    parser.add_argument("--read-only-mode", action="store_const", const=True, help="serve reads without a quorum, too")
    parser.add_argument("--four-letter-words", metavar="WORD,…", help="those that are answered (*)")
    parser.add_argument("--super-digest", metavar="super:BASE64SHA1", help="the super user's password")
    parser.add_argument(
        "--sasl-user", dest="sasl_users", action="append", metavar="NAME:PASSWORD", help="repeated for every user"
    )
    parser.add_argument("--sasl-users-file", metavar="FILE", help="lines of NAME:PASSWORD")
    parser.add_argument("--tls-listen", metavar="HOST:PORT", help="where clients connect over TLS")
    parser.add_argument("--tls-cert", metavar="FILE", help="the server's certificate")
    parser.add_argument("--tls-key", metavar="FILE", help="the certificate's key")
    parser.add_argument("--tls-ca", metavar="FILE", help="whose certificates clients must present")
    flags = vars(parser.parse_args())
    try:
        config = load_config(flags.pop("config"), os.environ, flags)
    except ConfigError as error:
        parser.exit(2, f"{error}\n")

    from zk.server.server import run  # only now: a mistake is told at once

    return run(config)


if __name__ == "__main__":
    sys.exit(main())
