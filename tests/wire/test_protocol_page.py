"""docs/protocol.md against the code: its tables of numbers, and its conversation byte by byte."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from zk.model.acl import OPEN_ACL
from zk.model.errors import Code, NoNodeError
from zk.model.events import EventType, WatchEvent
from zk.model.limits import DEFAULT_LIMITS
from zk.model.record import SessionId, Zxid
from zk.model.replies import ConnectReply, Created, Reply
from zk.model.requests import Call, Connect, Create, CreateMode, Delete, GetData
from zk.model.znode import Znode
from zk.wire.native import ClientConnection, ClientHello, ServerConnection, ServerHello, ServerLimits
from zk.wire.native import operations as wire_operations
from zk.wire.native.handshake import FEATURES, announced, encode_client_hello, encode_server_hello
from zk.wire.native.operations import Op, OperationDecoder
from zk.wire.native.replies import Kind

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def numbers_of(names: type) -> list[tuple[str, int]]:
    return [(name, number) for name, number in vars(names).items() if name.isupper()]


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The tables of a section, without the lines that hold no number or name of ours in their first column."""
    lines = [line for line in section(title).splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def numbered(title: str) -> list[list[str]]:
    return [row for row in rows(title) if re.fullmatch(r"-?\d+", row[0])]


def test_the_page_lists_every_operation_with_its_number_and_fields() -> None:
    listed = {(int(row[0]), row[1]): re.findall(r"(\w+): ", row[2]) for row in numbered("Operations")}
    parameters = OperationDecoder(DEFAULT_LIMITS).fields
    assert listed == {(number, name): parameters(number) for name, number in numbers_of(Op)}


def test_the_page_says_which_operations_are_writes() -> None:
    table = section("Operations").split("Reads of the tree:")[0]
    assert {int(number) for number in re.findall(r"^\| (-?\d+) \|", table, re.MULTILINE)} == wire_operations.WRITES


def test_the_page_lists_every_kind_of_answer() -> None:
    assert {int(row[0]): row[1] for row in numbered("Answers")} == {
        number: name.lower() for name, number in numbers_of(Kind)
    }


def test_the_page_lists_every_error_code() -> None:
    assert {int(row[0]) for row in numbered("Errors")} == {int(code) for code in Code} - {0}


def test_the_page_lists_every_type_of_event() -> None:
    listed = re.findall(r"(\d+) ([a-z]+(?: [a-z]+)*)", section("Events").split("Types:")[1].replace("\n", " "))
    assert {int(number): name.upper().replace(" ", "_") for number, name in listed} == {
        int(kind): kind.name for kind in EventType
    }


def test_the_page_lists_every_announced_limit_in_order_with_its_default() -> None:
    limits = announced(DEFAULT_LIMITS)
    listed = [(row[0], row[1]) for row in rows("Limits")[1:]]
    assert listed == [(field.name, str(getattr(limits, field.name))) for field in fields(ServerLimits)]


@pytest.mark.parametrize("speaker", ["client", "server"])
def test_the_conversation_is_what_the_code_says(speaker: str) -> None:
    lines = re.findall(rf"^{speaker}  ((?:[0-9a-f]{{2}} )*[0-9a-f]{{2}})(?:  .*)?$", PAGE, re.MULTILINE)
    assert bytes.fromhex(" ".join(lines)).hex(" ") == conversation()[speaker].hex(" ")


def conversation() -> dict[str, bytes]:
    client, server = ClientConnection("doc"), ServerConnection()
    zxid = Zxid(1 << 32 | 2)
    at = 1_700_000_000_000
    node = Znode(b"hi", OPEN_ACL, zxid, zxid, zxid, at, at, 0, 0, 0, SessionId(0), 0, CreateMode.PERSISTENT, 0)
    greeting = ServerHello(1, "zk 0.1.0", FEATURES, announced(DEFAULT_LIMITS))
    calls = (
        Call(1, Connect(SessionId(0), b"", 10_000)),
        Call(2, Create("/a", b"hi"), floor=2),
        Call(3, GetData("/a", watch=True)),
        Call(4, Delete("/a", 0), floor=4),
    )
    items: list[Reply | WatchEvent] = [
        Reply(1, Zxid(1 << 32 | 1), ConnectReply(SessionId(1 << 56 | 1), bytes(range(16)), 10_000)),
        Reply(2, zxid, Created("/a", node.stat)),
        Reply(3, zxid, node),
        WatchEvent(EventType.DELETED, "/a", Zxid(zxid + 1)),
        Reply(4, Zxid(zxid + 2), NoNodeError("/a")),
    ]
    hello = encode_client_hello(ClientHello(1, 1, "doc", ()))
    assert server.receive(hello + b"".join(client.call(call) for call in calls)) == list(calls)
    return {
        "client": hello + b"".join(client.call(call) for call in calls),
        "server": encode_server_hello(greeting) + server.send(items),
    }
