"""ZooKeeper and this service, side by side."""

from collections.abc import Iterator

import pytest

from tests.disks import quick_directory
from tests.zookeeper.differential import SESSION_TIMEOUT_MS_MIN, SUPER_DIGEST, Side, Sides
from zk.server.testing import start_ensemble
from zk.testing.zookeeper import start_zookeeper, zookeeper_missing

PROPERTIES = {
    "zookeeper.extendedTypesEnabled": "true",  # TTL nodes
    "zookeeper.enforceQuota": "true",
    "zookeeper.DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
    "zookeeper.forceSync": "no",
}

SETTINGS = {"maxClientCnxns": "0", "tickTime": "1000", "maxSessionTimeout": "40000"}
OPTIONS = ["--super-digest", SUPER_DIGEST, "--session-timeout-ms", f"{SESSION_TIMEOUT_MS_MIN}:40000"]


@pytest.fixture(scope="session")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """ZooKeeper, and this service; of which every client has a server of its own."""
    missing = zookeeper_missing()
    if missing is not None:
        pytest.skip(f"no ZooKeeper to compare with: {missing}")
    directory = tmp_path_factory.mktemp("differential")
    with (
        start_zookeeper(directory, properties=PROPERTIES, settings=SETTINGS, quick_start=True) as its,
        quick_directory() as data,  # ZooKeeper is told not to sync
        start_ensemble(data, options=OPTIONS) as ours,
    ):
        both = (
            Side("ZooKeeper", [its.servers[0].address]),
            Side("this service", [server.address for server in ours.servers]),
        )
        yield both
        for side in both:
            side.close()
