"""What differs from ZooKeeper is what docs/zookeeper.md lists, and differs as it says."""

import re
from pathlib import Path

import pytest

from tests.zookeeper.differential import Ask, Attach, Ended, RawReply, Sides, Step, Transcript, Vanish
from tests.zookeeper.steps import BASE
from zk.model.acl import Acl
from zk.model.errors import APIError, Code, SessionExpiredError
from zk.model.events import WatcherType, WatchEvent, WatchMode
from zk.model.record import Zxid
from zk.model.replies import AclReply, DataReply, IdentitiesReply, MultiReply, Reply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Check,
    CheckWatches,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    Delete,
    Exists,
    GetAcl,
    GetData,
    Multi,
    SetData,
    SetWatches,
    WhoAmI,
)

PAGE = Path(__file__).parents[2] / "docs" / "zookeeper.md"
QUOTA = f"/zookeeper/quota{BASE}"
NODE = f"{BASE}/node"


def said(transcript: Transcript) -> list[str]:
    """The codes that were heard ('ok' for 0), results of multis each for itself, and events; '-' for a step that
    nothing was heard after. The end of a connection is left out: see `differential.Client.raw`."""

    def words(item: object) -> list[str]:
        match item:
            case Reply(_, _, MultiReply(results)):
                return [str(int(result.code)) if isinstance(result, APIError) else "ok" for result in results]
            case Reply(_, _, APIError() as error):
                return [str(int(error.code))]
            case Reply(_, _, DataReply(data)) if data:
                return [data.decode()]
            case Reply(_, _, IdentitiesReply(identities)):
                return sorted(who.scheme for who in identities)
            case RawReply(_, _, code):
                return [str(code)]
            case WatchEvent(type):
                return [type.name]
            case _:
                return ["ok"]

    return [word for heard in transcript for word in ([w for _, item in heard for w in words(item)] or ["-"])]


def asked(*requests: ClientRequest) -> list[Step]:
    return [Ask(0, request) for request in requests]


DIFFERENCES: dict[str, tuple[list[Step], str, str]] = {
    "Malformed paths in creates": (
        asked(Create(f"{BASE}/./a", b""), Create(f"{BASE}/.", b"", acl=())),
        "-101 -114",
        "-8 -8",
    ),
    "Malformed paths in deletes": (asked(Delete(f"{BASE}/.")), "-101", "-8"),
    "Malformed paths of watches": (
        asked(AddWatch(f"{BASE}/", WatchMode.PERSISTENT), SetWatches(Zxid(0), (f"{BASE}/",))),
        "ok ok DELETED",
        "-8 -8",
    ),
    "The empty path in reads": (asked(Exists("")), "ok", "-101"),
    "Characters above U+FFFF": (asked(Create(f"{BASE}/\U0001f600", b"")), "-8", "ok"),
    "A check by itself": (asked(Check(BASE), Check(BASE, 1)), "- -103", "ok -103"),
    "Permissions beyond 31": (asked(Create(NODE, b"", (Acl(32, "world", "anyone"),))), "ok", "-114"),
    "IPv6 addresses in ACLs": (asked(Create(NODE, b"", (Acl(31, "ip", "::1"),))), "-114", "ok"),
    "IPv4 addresses with leading zeros in ACLs": (
        asked(Create(NODE, b"", (Acl(31, "ip", "127.0.0.010"),))),
        "ok",
        "-114",
    ),
    "x509 and sasl in ACLs": (
        asked(Create(NODE, b"", (Acl(31, "x509", "CN=ann"),)), Create(f"{NODE}-2", b"", (Acl(31, "sasl", "ann"),))),
        "-114 -114",
        "ok ok",
    ),
    "Watches of several kinds on one path": (
        asked(
            AddWatch(BASE, WatchMode.RECURSIVE),
            GetData(BASE, watch=True),
            SetData(BASE, b""),
            SetData(BASE, b""),
        ),
        "ok ok DATA_CHANGED ok ok",
        "ok ok DATA_CHANGED ok DATA_CHANGED ok",
    ),
    "Types of watches to check or remove": (
        asked(
            AddWatch(BASE, WatchMode.PERSISTENT),
            CheckWatches(BASE, WatcherType.DATA),
            CheckWatches(BASE, WatcherType.PERSISTENT),
        ),
        "ok ok -5",
        "ok -121 ok",
    ),
    "Events of setWatches": ([], "", ""),  # put in order by differential.py, for the comparison of all else
    "Watches set again on what may not be read": (
        asked(
            Create(NODE, b"", (Acl(8, "world", "anyone"),)),
            SetWatches(Zxid(0), data=(NODE,)),
            SetData(BASE, b""),
        ),
        "ok ok DATA_CHANGED ok",
        "ok ok ok",
    ),
    "Identities after a reconnect": (
        [*asked(AddAuth("digest", b"ann:secret")), Vanish(0), Attach(0, prove=False), *asked(WhoAmI())],
        "ok - ok ip",
        "ok - ok digest ip",
    ),
    "A wrong password for a session": ([], "", ""),  # see below
    "Large multis": (
        asked(Multi(tuple(Check(BASE) for _ in range(1_001)))),
        "ok " * 1_001,
        "-8",
    ),
    "Long paths and ACLs": (
        asked(
            Create(f"{BASE}/{'x' * 4_096}", b""),
            Create(NODE, b"", tuple(Acl(31, "digest", f"user-{n}:x") for n in range(65))),
        ),
        "ok ok",
        "-8 -8",
    ),
    "Quotas in a multi": (
        asked(
            Create(QUOTA, b""),
            Create(f"{QUOTA}/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3"),
            Create(f"{QUOTA}/zookeeper_stats", b""),
            Multi((Create(NODE, b""), Create(f"{NODE}-2", b""))),
        ),
        "ok ok ok ok ok",
        "ok ok ok ok -125",
    ),
    "Quotas inside quotas": (
        asked(
            Create(QUOTA, b""),
            Create(f"{QUOTA}/zookeeper_limits", b"count=9,bytes=9"),
            Create(f"{QUOTA}/zookeeper_stats", b"count=0,bytes=0"),
            Create(f"{QUOTA}/node", b""),
            Create(f"{QUOTA}/node/zookeeper_limits", b"count=9,bytes=9"),
            Create(f"{QUOTA}/node/zookeeper_stats", b"count=0,bytes=0"),
            Create(NODE, b""),
            GetData(f"{QUOTA}/zookeeper_stats"),
        ),
        "ok ok ok ok ok ok ok count=2,bytes=0",
        "ok ok ok ok ok ok ok count=3,bytes=0",
    ),
    "Shorter data above a hard limit": (
        asked(
            Create(NODE, b"123456789"),
            Create(QUOTA, b""),
            Create(f"{QUOTA}/node", b""),
            Create(f"{QUOTA}/node/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=5;countHardLimit=-1"),
            Create(f"{QUOTA}/node/zookeeper_stats", b"count=1,bytes=9"),
            SetData(NODE, b"123456"),
        ),
        "ok ok ok ok ok -125",
        "ok ok ok ok ok ok",
    ),
    "The stat of /zookeeper/config": ([], "", ""),  # see below
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_side_does_as_the_page_says(sides: Sides, name: str) -> None:
    steps, *expected = DIFFERENCES[name]
    assert [said(side.run(steps, BASE)) for side in sides] == [words.split() for words in expected]


def test_both_end_a_connection_for_an_unknown_request(sides: Sides) -> None:
    for side in sides:
        client = side.open()
        [answer, *ended] = [*client.frame(77, b""), *client.hear_out()]
        assert isinstance(answer, RawReply)
        assert answer.code == Code.UNIMPLEMENTED
        assert ended == [Ended()]


def test_who_knows_only_the_number_of_a_session_cuts_its_client_off_from_zookeeper_but_not_here(sides: Sides) -> None:
    heard = []
    for side in sides:
        client, imposter = side.open(), side.open()
        [refused] = imposter.connect(Connect(client.session_id, b"x" * 16, 10_000))
        assert isinstance(refused, Reply)
        assert refused.body == SessionExpiredError()
        heard.append(client.hear())
        client.ask(CloseSession())
        client.vanish()
        imposter.vanish()
    assert heard == [[Ended()], []]


def test_the_stat_of_the_configuration_s_node_differs(sides: Sides) -> None:
    [[[(_, theirs)]], [[(_, ours)]]] = [side.run(asked(GetAcl("/zookeeper/config")), BASE) for side in sides]
    assert isinstance(theirs, Reply)
    assert isinstance(ours, Reply)
    assert isinstance(theirs.body, AclReply)
    assert isinstance(ours.body, AclReply)
    assert (theirs.body.stat.aversion, ours.body.stat.aversion) == (-1, 0)
    assert ours.body.stat.version == 1
    assert theirs.body.acl == ours.body.acl


def test_the_page_lists_these_differences_and_no_others() -> None:
    assert re.findall(r"^\| \*\*(.*?)\*\*", PAGE.read_text(), re.MULTILINE) == list(DIFFERENCES)
