"""Discovery: which instances of a service there are, and how to reach them."""

import logging
from collections.abc import Mapping
from itertools import count
from math import inf
from random import SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import anyio

from zk.model.errors import ZKError
from zk.model.paths import join
from zkclient.cache import CacheChanges
from zkclient.caches import ChildrenCache
from zkclient.errors import ClientClosedError, NoInstanceError
from zkclient.picture import CacheChange
from zkclient.recipes.held import LEAVE_SECONDS_MAX, Held
from zkclient.recipes.instance import Instance
from zkclient.recipes.places import leave_place, take_place
from zkclient.results import NodeData

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

PREFIX = "instance-"
AGAIN_SECONDS = 0.5  # behind a registration that failed, before the next attempt

_random = SystemRandom()
_log = logging.getLogger(__name__)


class Discovery:
    """The services below `path`, each with its instances.

        discovery = zk.Discovery("/services")
        async with discovery.register("web", "10.0.0.7", 8080):
            ...                                       # this process can be found

        async with discovery.find("web") as web:
            instance = web.choose()
            print(instance.address, instance.port)

    An instance is an ephemeral node with a JSON object: name, id, address, port, metadata.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str) -> None:
        self._client = client
        self._path = path

    def register(
        self,
        name: str,
        address: str,
        port: int,
        *,
        id: str = "",  # noqa: A002 - what it is
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> "Registration":
        """A block in which an instance of the service `name` can be found. See `zkclient.Registration`. Without `id` it
        gets one that nobody else has. `timeout` (seconds) is the deadline of the first registration."""
        instance = Instance(name, id or uuid4().hex, address, port, dict(metadata or {}))
        return Registration(self._client, join(self._path, name), instance, timeout)

    def find(self, name: str, *, timeout: float | None = None) -> "Instances":
        """A block in which the instances of the service `name` are at hand. See `zkclient.Instances`. `timeout`
        (seconds) is the deadline of the first look."""
        return Instances(self._client, join(self._path, name), timeout)

    async def names(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """The services that have, or had until a moment ago, instances; sorted."""
        if await self._client.exists(self._path, timeout=timeout) is None:
            return ()
        return await self._client.get_children(self._path, timeout=timeout)


class Registration:
    """Within its `async with` block `instance` can be found.

    If its node goes, with a session that is lost or because somebody deletes it, the instance is registered anew, for
    as long as the block lasts. Who looks for it may find it up to one session timeout after the process has died.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, instance: Instance, timeout: float | None) -> None:
        self._instance = instance
        self._client = client
        self._path = path
        self._timeout = timeout
        self._held: Held | None = None
        self._scope: anyio.CancelScope | None = None
        self._over = anyio.Event()

    async def __aenter__(self) -> Self:
        if self._scope is not None:
            raise RuntimeError("a registration can be entered once: make another one")
        self._scope = anyio.CancelScope()
        self._held = await self._register(self._client.deadline(self._timeout))
        self._client.driver.start_task(self._stay, self._scope)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._scope is not None
        self._scope.cancel()
        with anyio.move_on_after(LEAVE_SECONDS_MAX, shield=True):
            await self._over.wait()  # what is under way is undone
        await self._leave()

    @property
    def instance(self) -> Instance:
        """What can be found."""
        return self._instance

    @property
    def registered(self) -> bool:
        """Whether the instance is registered, as far as this process knows."""
        return self._held is not None and not self._held.lost.is_set()

    async def _register(self, deadline: float) -> Held:
        return await take_place(self._client, join(self._path, PREFIX), self._instance.to_json(), deadline)

    async def _stay(self, scope: anyio.CancelScope) -> None:
        """Be registered until `scope` is cancelled."""
        with scope:
            try:
                while True:
                    if self._held is not None:
                        await self._held.lost.wait()
                        await self._leave()
                    try:
                        self._held = await self._register(inf)
                    except ClientClosedError:
                        return
                    except ZKError as error:
                        _log.warning("%s at %s: %s; trying again", self._instance, self._path, error)
                        await anyio.sleep(AGAIN_SECONDS)
            finally:
                try:
                    await self._leave()
                finally:
                    self._over.set()

    async def _leave(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            await leave_place(self._client.driver, held)


class Instances:
    """Within its `async with` block: the instances of a service, kept up to date by a `ChildrenCache`.

    Of several with the same id (a process was restarted, and its former session is not over yet) the latest counts.
    While the client is not connected, those that were last known are shown.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, timeout: float | None) -> None:
        self._cache = ChildrenCache(client, path, timeout=timeout)
        self._known: dict[str, tuple[int, Instance]] = {}  # by path: the czxid, and what was found there
        self._present: tuple[Instance, ...] = ()
        self._turns = count()

    async def __aenter__(self) -> Self:
        await self._cache.__aenter__()
        for name, node in self._cache.items():
            self._learn(join(self._cache.path, name), node)
        self._cache.add_listener(self._changed)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._cache.__aexit__(exc_type, exc, traceback)

    @property
    def present(self) -> tuple[Instance, ...]:
        """All of them, in the order of their registration."""
        return self._present

    def choose(self) -> Instance:
        """One by chance. Raises NoInstanceError."""
        return _random.choice(self._some())

    def choose_in_turn(self) -> Instance:
        """One after the other (round robin). Raises NoInstanceError."""
        present = self._some()
        return present[next(self._turns) % len(present)]

    def changes(self) -> "InstanceChanges":
        """An async iterator: those that are present, at once, and whenever others are."""
        return InstanceChanges(self, self._cache.changes())

    def _some(self) -> tuple[Instance, ...]:
        if not self._present:
            raise NoInstanceError(self._cache.path)
        return self._present

    def _changed(self, change: CacheChange) -> None:
        if change.path != self._cache.path:
            self._learn(change.path, change.new)

    def _learn(self, path: str, node: NodeData | None) -> None:
        self._known.pop(path, None)
        if node is not None:
            try:
                self._known[path] = node.stat.czxid, Instance.from_json(node.data)
            except ValueError as error:
                _log.warning("%s: %s", path, error)
        latest = {instance.id: instance for _, instance in sorted(self._known.values(), key=lambda known: known[0])}
        self._present = tuple(latest.values())


class InstanceChanges:
    """An async iterator of the instances that are present. It ends with the block of its `Instances`."""

    def __init__(self, instances: Instances, changes: CacheChanges) -> None:
        self._instances = instances
        self._changes = changes
        self._told: tuple[Instance, ...] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Instance, ...]:
        while self._told == self._instances.present:
            await anext(self._changes)
        self._told = self._instances.present
        return self._told
