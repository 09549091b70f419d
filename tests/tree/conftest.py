"""Every test of the tree drives one through its log."""

import pytest

from zk.tree.testing import Caller, TreeDriver


@pytest.fixture
def driver() -> TreeDriver:
    return TreeDriver()


@pytest.fixture
def client(driver: TreeDriver) -> Caller:
    """A client with session 1 and no identity of its own."""
    return driver.open()
