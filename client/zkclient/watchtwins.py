"""For plain threads: the watches that call functions, and the caches. By hand, for they have no async counterparts that
could be called as they are."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from zkclient.client import AsyncZooKeeper
from zkclient.datawatch import (
    C,
    ChildrenFunction,
    D,
    DataFunction,
    Feed,
    V,
    arguments_max,
    children_feed,
    data_feed,
    follow,
)
from zkclient.threads import Session
from zkclient.twins import ThreadClient


def watch(session: Session, make: Callable[[AsyncZooKeeper], Feed[V]], function: Callable[..., object]) -> None:
    """Call `function` here and now, and behind every later change in the thread of the client's callbacks."""

    async def begin(client: AsyncZooKeeper) -> tuple[Feed[V], tuple[object, ...]]:
        feed = make(client)
        try:
            return feed, await feed.next()
        except BaseException:
            feed.close()
            raise

    async def go_on(client: AsyncZooKeeper, feed: Feed[V]) -> None:
        client.driver.start_task(follow, feed, function, partial(_call_in_thread, session))

    async def end(feed: Feed[V]) -> None:
        feed.close()

    session.running()
    client = session.client
    feed, arguments = session.run(begin(client))
    goes_on = False
    try:
        goes_on = function(*arguments[: arguments_max(function)]) is not False
    finally:
        session.run(go_on(client, feed) if goes_on else end(feed))


async def _call_in_thread(session: Session, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    result: Future[object] = Future()
    session.callbacks.call(partial(_call, function, arguments), result)
    return await asyncio.wrap_future(result)


def _call(function: Callable[..., object], arguments: tuple[object, ...], result: Future[object]) -> None:
    if result.set_running_or_notify_cancel():
        try:
            result.set_result(function(*arguments))
        except Exception as error:
            result.set_exception(error)


class DataWatch:
    """Call a function with a node's data and stat, at once, and again after every change.

        @zk.DataWatch("/config")
        def configure(data, stat):
            ...

    A missing node is told as (None, None), also when it is deleted. A function with a third argument gets the last
    event there, None at first. The first call is made by the thread that decorates, and what it raises comes out there;
    later calls are made in the thread of the client's callbacks, one after the other, and may use the client. What
    changes several times during one call is told once, as it is then. The watch lasts over reconnects and sessions,
    until the function returns False or the client is closed. What later calls raise is logged.
    """

    def __init__(self, client: ThreadClient, path: str, func: DataFunction | None = None) -> None:
        self._session = client._session
        self._path = path
        if func is not None:
            self(func)

    def __call__(self, function: D) -> D:
        """Begin to watch; gives `function` back."""
        watch(self._session, lambda client: data_feed(client, self._path), function)
        return function


class ChildrenWatch:
    """Call a function with the sorted names of a node's children, at once, and again when one has come or gone.

        @zk.ChildrenWatch("/workers")
        def workers_changed(names):
            ...

    A missing node has no children: (). A function with a second argument gets the last event there. All else is as of
    DataWatch.
    """

    def __init__(self, client: ThreadClient, path: str, func: ChildrenFunction | None = None) -> None:
        self._session = client._session
        self._path = path
        if func is not None:
            self(func)

    def __call__(self, function: C) -> C:
        """Begin to watch; gives `function` back."""
        watch(self._session, lambda client: children_feed(client, self._path), function)
        return function
