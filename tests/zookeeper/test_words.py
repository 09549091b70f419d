"""Four-letter words, as text: what ZooKeeper 3.8 printed for the same figures."""

import pytest

from zk.model.record import SessionId, Zxid
from zk.wire.zookeeper import words
from zk.wire.zookeeper.words import ConnectionFacts, Latency, ServerFacts, SessionClock, SessionFacts

VERSION = "3.8.0-zk0.1.0, built on 12/29/2024 17:54 UTC"
ONE, TWO = SessionId(0x100015D48660000), SessionId(0x100015D48660001)
SESSION = SessionFacts(ONE, "PING", 1795397908152, 10_000, 14, Zxid(8), 22924381, 2, Latency(0, 2.4, 13))
ATTACHED = ConnectionFacts("127.0.0.1:42128", 1, 0, 16, 15, 1795398122_000, SESSION)
ASKING = ConnectionFacts("127.0.0.1:42170", 0, 0, 1, 0, 1795398122_500, None)


def facts(mode: str, sizes: tuple[int, int, int] | None = None) -> ServerFacts:
    return ServerFacts(VERSION, mode, Zxid(0x100000008), 11, 3, 26, 25, 0, Latency(0, 28 / 11, 13), sizes)


@pytest.mark.parametrize("word", words.WORDS)
def test_a_word_is_told_from_its_first_four_bytes(word: str) -> None:
    head = word.encode()
    assert [words.begins(head[:size]) for size in (1, 2, 3, 4)] == [None, None, None, True]
    for more in (b"\n", b"\r\n", b" and so on", b"\0" * 100):
        assert words.begins(head + more) is True
        assert words.asked(head + more) == word


@pytest.mark.parametrize("head", [b"x", b"rx", b"kill", b"RUOK", b"\xc1zk1", b"\0\0\0-", b"GET / HTTP/1.1"])
def test_what_begins_otherwise_is_no_word(head: bytes) -> None:
    assert words.begins(head) is False


def test_srvr() -> None:
    assert words.srvr(facts("follower")) == (
        f"Zookeeper version: {VERSION}\n"
        "Latency min/avg/max: 0/2.5455/13\n"
        "Received: 26\n"
        "Sent: 25\n"
        "Connections: 3\n"
        "Outstanding: 0\n"
        "Zxid: 0x100000008\n"
        "Mode: follower\n"
        "Node count: 11\n"
    )
    assert words.srvr(facts("leader", (88, 48, 90))).endswith(
        "Mode: leader\nNode count: 11\nProposal sizes last/min/max: 88/48/90\n"
    )
    assert words.srvr(facts("read-only")).startswith(
        f"Zookeeper version: {VERSION}\nREAD-ONLY mode; serving only read-only clients\nLatency min/avg/max: "
    )


def test_stat() -> None:
    text = words.srvr(facts("standalone"))
    head, figures = text.split("\n", 1)
    assert words.stat(facts("standalone"), [ATTACHED, ASKING]) == (
        f"{head}\n"
        "Clients:\n"
        " /127.0.0.1:42128[1](queued=0,recved=16,sent=15)\n"
        " /127.0.0.1:42170[0](queued=0,recved=1,sent=0)\n"
        "\n"
        f"{figures}"
    )


def test_cons() -> None:
    assert words.cons([ATTACHED, ASKING]) == (
        " /127.0.0.1:42128[1](queued=0,recved=16,sent=15,sid=0x100015d48660000,lop=PING,est=1795397908152,to=10000,"
        "lcxid=0xe,lzxid=0x8,lresp=22924381,llat=2,minlat=0,avglat=2,maxlat=13)\n"
        " /127.0.0.1:42170[0](queued=0,recved=1,sent=0)\n"
        "\n"
    )


def test_mntr() -> None:
    assert words.mntr({"version": VERSION, "avg_latency": 0.0, "znode_count": 11, "x": 1 / 3}) == (
        f"zk_version\t{VERSION}\nzk_avg_latency\t0.0\nzk_znode_count\t11\nzk_x\t0.3333\n"
    )


def test_conf() -> None:
    settings = {"clientPort": 2181, "dataDir": "/data", "serverId": 1}
    alone = "clientPort=2181\ndataDir=/data\nserverId=1\n"
    member = "server.1=127.0.0.1:24211:24221:participant"
    assert words.conf(settings, "") == alone
    assert words.conf(settings, f"{member}\nversion=100") == f"{alone}membership: \n{member}\nversion=100"


def test_dump_by_a_leader() -> None:
    clocks = [SessionClock(ONE, 10_000, 1795398121_999), SessionClock(TWO, 5_000, 1795398117_000)]
    ephemerals = {TWO: ["/a/e"], ONE: ["/e1", "/e2"]}
    assert words.dump(clocks, ephemerals, [ATTACHED, ASKING], 2_000) == (
        "SessionTracker dump:\n"
        "Session Sets (2)/(2):\n"
        "1 expire at Mon Nov 23 01:41:58 UTC 2026:\n"
        "\t0x100015d48660001\n"
        "1 expire at Mon Nov 23 01:42:02 UTC 2026:\n"
        "\t0x100015d48660000\n"
        "ephemeral nodes dump:\n"
        "Sessions with Ephemerals (2):\n"
        "0x100015d48660001:\n"
        "\t/a/e\n"
        "0x100015d48660000:\n"
        "\t/e1\n"
        "\t/e2\n"
        "Connections dump:\n"
        "Connections Sets (1)/(2):\n"
        "2 expire at Mon Nov 23 01:42:04 UTC 2026:\n"
        "\tip: /127.0.0.1:42128 sessionId: 0x100015d48660000\n"
        "\tip: /127.0.0.1:42170 sessionId: 0x0\n"
    )


def test_dump_by_a_follower_who_knows_no_deadlines() -> None:
    clocks = [SessionClock(ONE, 10_000, None), SessionClock(TWO, 5_000, None)]
    assert words.dump(clocks, {}, [], 2_000) == (
        "SessionTracker dump:\n"
        "Global Sessions(2):\n"
        "0x100015d48660000\t10000ms\n"
        "0x100015d48660001\t5000ms\n"
        "ephemeral nodes dump:\n"
        "Sessions with Ephemerals (0):\n"
        "Connections dump:\n"
        "Connections Sets (0)/(0):\n"
    )


def test_watches_in_three_ways() -> None:
    assert words.wchs(2, 3, 4) == "2 connections watching 3 paths\nTotal watches:4\n"
    assert words.wchc({TWO: ["/a", "/c"], ONE: ["/a"]}) == (
        "0x100015d48660001\n\t/a\n\t/c\n0x100015d48660000\n\t/a\n\n"
    )
    assert words.wchp({"/a": [ONE, TWO], "/c": [TWO]}) == (
        "/a\n\t0x100015d48660000\n\t0x100015d48660001\n/c\n\t0x100015d48660001\n\n"
    )


def test_the_others() -> None:
    assert words.envi({"zookeeper.version": VERSION, "host.name": "vm"}) == (
        f"Environment:\nzookeeper.version={VERSION}\nhost.name=vm\n"
    )
    assert words.dirs(5, 67109337) == "datadir_size: 5\nlogdir_size: 67109337\n"
    assert words.digests({Zxid(0x80): "5028820112", Zxid(0x100): "8756251087"}) == "80: 5028820112\n100: 8756251087\n"
    assert words.not_listed("wchp") == "wchp is not executed because it is not in the whitelist.\n"
