"""A service that others find, and that finds its peers. Start it several times, and stop one, by Ctrl-C or kill -9.

python examples/service_registry.py [--name web] [--port 0] [--server HOST:PORT,…]
"""

import argparse
import asyncio
from contextlib import suppress

from zkclient import AsyncZooKeeper


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\n")
    await writer.drain()
    writer.close()


async def main(name: str, port: int, hosts: str) -> None:
    server = await asyncio.start_server(greet, "127.0.0.1", port)
    own_port = server.sockets[0].getsockname()[1]
    async with server, AsyncZooKeeper(hosts) as zk:
        discovery = zk.Discovery("/services")
        # Within the first block it can be found; if the session is lost, it is registered again in the next one.
        async with discovery.register(name, "127.0.0.1", own_port), discovery.find(name) as peers:
            print(f"serving on {own_port}", flush=True)
            async for present in peers.changes():
                print("present:", *sorted(instance.port for instance in present), flush=True)
                with suppress(OSError):  # it died just now: it is shown until its session ends
                    chosen = peers.choose()
                    reader, writer = await asyncio.open_connection(chosen.address, chosen.port)
                    print(f"{chosen.port} says {(await reader.readline()).decode().strip()}", flush=True)
                    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="web")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--server", default="127.0.0.1:2181")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.name, arguments.port, arguments.server))
