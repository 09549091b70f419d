"""Trees as lines of JSON: what is written is read again; what is wrong is told with its line."""

import json

import pytest

from zk.cli.output import data_fields
from zk.cli.texts import stat_record
from zk.importing.lines import Line, LineError, moved, read_lines, to_line
from zk.model.acl import OPEN_ACL, Acl
from zk.model.record import SessionId, Zxid
from zk.model.replies import NodeReply
from zk.model.requests import CreateMode
from zk.model.stat import Stat

STAT = Stat(Zxid(1), Zxid(2), 3, 4, 5, 6, 7, SessionId(0), 9, 10, Zxid(11))
ACL = (Acl(31, "digest", "ann:hash="), Acl(1, "ip", "10.0.0.0/8"))


@pytest.mark.parametrize("data", [b"", b"text\n\xc3\xa9", b"\x00\xff", "\u2028".encode()])
@pytest.mark.parametrize(
    ("mode", "ttl_ms"),
    [(CreateMode.PERSISTENT, 0), (CreateMode.CONTAINER, 0), (CreateMode.PERSISTENT_WITH_TTL, 9)],
)
@pytest.mark.parametrize("acl", [OPEN_ACL, ACL])
def test_what_is_written_is_read_again(data: bytes, mode: CreateMode, ttl_ms: int, acl: tuple[Acl, ...]) -> None:
    text = to_line("/a/é", NodeReply(data, acl, mode, ttl_ms, STAT), data_fields(data), stat_record(STAT))
    assert "\n" not in text
    assert read_lines([text]) == (Line(1, "/a/é", data, acl, mode, ttl_ms),)


def test_a_line_needs_no_more_than_a_path() -> None:
    assert read_lines(["", '{"path": "/b"}', '{"path": "/a"}']) == (
        Line(3, "/a", b"", OPEN_ACL, CreateMode.PERSISTENT, 0),
        Line(2, "/b", b"", OPEN_ACL, CreateMode.PERSISTENT, 0),
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ("{", "it is no JSON: "),
        ("[1]", "a line is a JSON object"),
        ({"data": "x"}, "its path must be text"),
        ({"path": "a"}, "path 'a': a path must start with '/'; did you mean '/a'?"),
        (
            {"path": "/a", "node": 1},
            "there is no field 'node'; there are acl, data, data_base64, mode, path, stat, ttl",
        ),
        ({"path": "/a", "mode": "odd"}, "mode 'odd'; there are persistent, ephemeral, container, persistent_with_ttl"),
        ({"path": "/a", "ttl_ms": 5}, "a ttl_ms of 5 does not go with mode persistent"),
        ({"path": "/a", "mode": "persistent_with_ttl"}, "a ttl_ms of 0 does not go with mode persistent_with_ttl"),
        ({"path": "/a", "data": 5}, "the node's data is text, in either data or data_base64"),
        ({"path": "/a", "data": "", "data_base64": ""}, "the node's data is text, in either data or data_base64"),
        ({"path": "/a", "data_base64": "%"}, "its data: "),
        ({"path": "/a", "data": "\ud800"}, "its data: "),
        ({"path": "/a", "acl": []}, "acl is a list of at least one entry"),
        ({"path": "/a", "acl": ["world:anyone:r"]}, "an entry of acl has scheme, id and perms"),
        ({"path": "/a", "acl": [{"scheme": "world", "id": "anyone", "perms": "x"}]}, "its perms of the letters cdrwa"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(fields: object, why: str) -> None:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    with pytest.raises(LineError) as caught:
        read_lines(['{"path": "/good"}', text])
    assert str(caught.value).startswith("line 2: ")
    assert why in str(caught.value)


def test_no_path_has_two_lines() -> None:
    with pytest.raises(LineError, match="line 2: /a has a line already: 1"):
        read_lines(['{"path": "/a"}', '{"path": "/a"}'])


@pytest.mark.parametrize(
    ("paths", "top", "wanted"),
    [
        (["/a", "/a/b"], "/c/d", ["/c/d", "/c/d/b"]),
        (["/a", "/a/b"], "/", ["/", "/b"]),
        (["/", "/a"], "/c", ["/c", "/c/a"]),
    ],
)
def test_a_tree_can_go_elsewhere(paths: list[str], top: str, wanted: list[str]) -> None:
    lines = read_lines([json.dumps({"path": path}) for path in paths])
    assert [line.path for line in moved(lines, top)] == wanted


def test_what_is_not_below_the_first_node_can_t_go_with_it() -> None:
    lines = read_lines(['{"path": "/a"}', '{"path": "/b"}'])
    with pytest.raises(LineError, match="line 2: /b is not below /a, so it can't be moved with it"):
        moved(lines, "/c")
