"""Ask servers, all at once, what they are doing. Used by `zk status` and by the demo."""

from collections.abc import Mapping, Sequence

import anyio
from zkclient import status_of

from zk.model.errors import ZKError
from zk.model.replies import StatusReply

ANSWER_TIMEOUT_S = 2.0


async def ask_all(servers: Sequence[str]) -> Mapping[str, StatusReply | ZKError]:
    """What each server at HOST:PORT says, or why it says nothing; in the order of `servers`."""
    answers: dict[str, StatusReply | ZKError] = {}

    async def ask(server: str) -> None:
        try:
            answers[server] = await status_of(server, timeout=ANSWER_TIMEOUT_S)
        except ZKError as error:
            answers[server] = error

    async with anyio.create_task_group() as tasks:
        for server in servers:
            tasks.start_soon(ask, server)
    return {server: answers[server] for server in servers}
