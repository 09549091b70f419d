"""Four-letter words asked of running servers, side by side with ZooKeeper where that is installed."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from zk.model.events import WatchMode
from zk.model.record import ServerId
from zk.model.replies import DataReply
from zk.model.requests import AddWatch, Create, CreateMode, GetData
from zk.server.config import Address
from zk.server.testing import ServerProcess, Session, free_ports, start_ensemble, start_server
from zk.testing.zookeeper import start_zookeeper, zookeeper_missing
from zk.wire.zookeeper.words import WORDS

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
NUMBER = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")


def ask(address: Address, *parts: bytes) -> str:
    """What a server answers until it ends the connection."""
    with socket.create_connection((address.host, address.port), 5) as asked:
        asked.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            asked.sendall(part)
            time.sleep(0.02 if len(parts) > 1 else 0)  # so that they travel one by one
        answer = b""
        while data := asked.recv(65_536):
            answer += data
    return answer.decode()


def figures(text: str) -> dict[str, str]:
    """The lines of `mntr`."""
    return dict(line.split("\t") for line in text.splitlines())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_server(tmp_path_factory.mktemp("words")) as started:
        yield started


@pytest.mark.parametrize("parts", [(b"ruok",), (b"ruok\n",), (b"ruok\r\nmore",), (b"r", b"uo", b"k"), (b"ruok" * 99,)])
def test_it_does_not_matter_how_a_word_arrives(server: ServerProcess, parts: tuple[bytes, ...]) -> None:
    assert ask(server.address, *parts) == "imok"


def test_what_is_no_word_is_answered_with_the_end(server: ServerProcess) -> None:
    assert ask(server.address, b"kill") == ""


def test_only_words_of_the_whitelist_are_answered(tmp_path: Path) -> None:
    with start_server(tmp_path, options=("--four-letter-words", "isro,srvr")) as server:
        assert ask(server.address, b"isro") == "rw"
        assert ask(server.address, b"srvr").startswith("Zookeeper version: 3.8.0-zk")
        for word in set(WORDS) - {"isro", "srvr"}:
            refusal = f"{word} is not executed because it is not in the whitelist.\n"
            assert ask(server.address, word.encode()) == refusal


TAKEN_APART = {
    "kazoo": (b"envi", r"zookeeper\.version=(\d+)\.(\d+)\.(\d+)(?:-([a-zA-Z0-9.-]+))?"),
    "Datadog": (
        b"stat",
        r"\AZookeeper version: [^\n]*?(\d+\.\d+\.\d+)[^\n]*\nClients:\n( /[^\n]+\n)+\nLatency min/avg/max: ",
    ),
    "the Go client's FLWSrvr": (
        b"srvr",
        r"\AZookeeper version: ([A-Za-z0-9.-]+), built on (\d\d/\d\d/\d{4} \d\d:\d\d [A-Za-z0-9:+-]+)\n"
        r"Latency min/avg/max: (\d+)/([0-9.]+)/(\d+)\nReceived: (\d+)\nSent: (\d+)\nConnections: (\d+)\n"
        r"Outstanding: (\d+)\nZxid: (0x[0-9a-f]+)\nMode: (\w+)\nNode count: (\d+)\n",
    ),
    "the Go client's FLWCons": (
        b"cons",
        r"(?m)^ /((?:\d{1,3}\.){3}\d{1,3}:\d+)\[\d+\]\(queued=(\d+),recved=(\d+),sent=(\d+)"
        r",sid=(0x[a-f0-9]+),lop=([A-Z]{4}),est=(\d+),to=(\d+),lcxid=(0x[a-f0-9]+),lzxid=(0x[a-f0-9]+)"
        r",lresp=(\d+),llat=(\d+),minlat=(\d+),avglat=(\d+),maxlat=(\d+)\)$",
    ),
    "Telegraf": (b"mntr", r"\A(zk_\w+\s+[\w.-]+[^\n]*\n)+\Z"),
    "zktop": (b"stat", r"(?m)^Mode: (leader|follower|standalone)$"),
}


@pytest.mark.parametrize(("word", "form"), TAKEN_APART.values(), ids=TAKEN_APART)
def test_programs_find_what_they_look_for(server: ServerProcess, word: bytes, form: str) -> None:
    """ZooKeeper wrote the date of its version in two ways: the Go client understands the older one, others any."""
    with Session(server):
        assert re.search(form, ask(server.address, word))


def test_words_tell_of_sessions_watches_and_ephemerals(tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Session(server, 10_000) as one, Session(server, 20_000) as two:
        one.ask(Create("/a", b"12345"))
        one.ask(Create("/a/e", b"", mode=CreateMode.EPHEMERAL))
        one.ask(Create("/e", b"", mode=CreateMode.EPHEMERAL))
        one.ask(GetData("/a", True))
        two.ask(GetData("/a", True))
        two.ask(AddWatch("/a", WatchMode.RECURSIVE))
        two.ask(AddWatch("/b", WatchMode.PERSISTENT))

        assert ask(server.address, b"wchs") == "2 connections watching 2 paths\nTotal watches:4\n"
        assert ask(server.address, b"wchc") == f"0x{one.id:x}\n\t/a\n0x{two.id:x}\n\t/a\n\t/b\n\n"
        assert ask(server.address, b"wchp") == f"/a\n\t0x{one.id:x}\n\t0x{two.id:x}\n/b\n\t0x{two.id:x}\n\n"

        dump = ask(server.address, b"dump")
        assert dump.startswith("SessionTracker dump:\nSession Sets (2)/(2):\n1 expire at ")
        assert f"Sessions with Ephemerals (1):\n0x{one.id:x}:\n\t/a/e\n\t/e\nConnections dump:\n" in dump
        peer = "{}:{}".format(*one.socket.getsockname())
        assert f"\tip: /{peer} sessionId: 0x{one.id:x}\n" in dump

        [line] = [line for line in ask(server.address, b"cons").splitlines() if f"sid=0x{one.id:x}" in line]
        assert line.startswith(f" /{peer}[1](queued=0,recved=5,sent=5,sid=0x{one.id:x},lop=GETD,est=")
        assert ",to=10000,lcxid=0x5,lzxid=0x" in line

        found = figures(ask(server.address, b"mntr"))
        assert found["zk_server_state"] == "standalone"
        assert found["zk_ephemerals_count"] == "2"
        assert found["zk_watch_count"] == "4"
        assert found["zk_global_sessions"] == "2"
        assert found["zk_num_alive_connections"] == "3"
        assert found["zk_znode_count"] == "7"
        assert found["zk_approximate_data_size"] == str(
            sum(map(len, ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/a", "12345", "/a/e", "/e")))
        )
        assert int(found["zk_open_file_descriptor_count"]) > 3


def test_figures_can_be_set_back(tmp_path: Path) -> None:
    def received() -> int:
        return int(figures(ask(asked.address, b"mntr"))["zk_packets_received"])

    with start_server(tmp_path) as asked, Session(asked) as session:
        for _ in range(100):
            session.ask(GetData("/"))
        before = received()
        assert before > 100
        assert ask(asked.address, b"crst") == "Connection stats reset.\n"
        assert "(queued=0,recved=0,sent=0" in ask(asked.address, b"stat")
        assert received() == before + 3
        assert ask(asked.address, b"srst") == "Server stats reset.\n"
        assert received() == 1


def test_members_of_an_ensemble_say_what_they_are(tmp_path: Path) -> None:
    with start_ensemble(tmp_path, options=("--read-only-mode",)) as ensemble:
        leader = ensemble.leader()
        follower, _ = ensemble.others(leader)
        assert "\nMode: leader\n" in ask(leader.address, b"srvr")
        assert "\nProposal sizes last/min/max: " in ask(leader.address, b"stat")
        assert "\nMode: follower\n" in ask(follower.address, b"srvr")
        assert "Proposal" not in ask(follower.address, b"srvr")
        found = figures(ask(leader.address, b"mntr"))
        assert (found["zk_server_state"], found["zk_synced_followers"], found["zk_quorum_size"]) == ("leader", "2", "3")
        assert figures(ask(follower.address, b"mntr"))["zk_server_state"] == "follower"
        with Session(follower, 10_000) as session:
            dump = ask(follower.address, b"dump")
            assert dump.startswith(f"SessionTracker dump:\nGlobal Sessions(1):\n0x{session.id:x}\t10000ms\n")
            body = session.ask(GetData("/zookeeper/config"))
            assert isinstance(body, DataReply)
        membership = ask(follower.address, b"conf").split("membership: \n")[1]
        assert membership.encode() == body.data
        lines = membership.splitlines()
        assert [line.split("=")[0] for line in lines] == ["server.1", "server.2", "server.3", "version"]
        assert all(re.fullmatch(r"server\.\d=127\.0\.0\.1:\d+:\d+:participant", line) for line in lines[:3])

        for lost in ensemble.others(leader):
            lost.kill()
        while (state := ask(leader.address, b"isro")) != "ro":
            assert state in ("rw", "null")
        figures_now = ask(leader.address, b"srvr")
        assert "\nREAD-ONLY mode; serving only read-only clients\nLatency" in figures_now
        assert "\nMode: read-only\n" in figures_now
        assert figures(ask(leader.address, b"mntr"))["zk_server_state"] == "read-only"


def test_without_a_quorum_a_server_says_so(tmp_path: Path) -> None:
    ports = free_ports(4)
    peers = [(ServerId(n), Address("127.0.0.1", port)) for n, port in enumerate(ports[1:], 1)]
    server = ServerProcess(ServerId(1), Address("127.0.0.1", ports[0]), tmp_path, peers)
    server.start()
    try:
        server.wait_for_line("listens on")
        assert ask(server.address, b"ruok") == "imok"
        assert ask(server.address, b"isro") == "null"
        assert ask(server.address, b"envi").startswith("Environment:\nzookeeper.version=3.8.0-zk")
        for word in set(WORDS) - {"ruok", "isro", "envi"}:
            assert ask(server.address, word.encode()) == NOT_SERVING
    finally:
        server.kill()


@pytest.mark.skipif(zookeeper_missing() is not None, reason=str(zookeeper_missing()))
def test_the_lines_are_those_of_zookeeper(tmp_path: Path) -> None:
    """With the same clients at both, the texts differ in numbers only; what one of them leaves out is named here."""
    kazoo = pytest.importorskip("kazoo.client", reason="kazoo is not installed: pip install 'zkensemble[bench]'")

    def texts(address: Address) -> dict[str, str]:
        client = kazoo.KazooClient(str(address), timeout=40)  # a ping in between would be told of
        client.start()
        try:
            client.create("/a", b"x", ephemeral=True)
            client.get("/a", watch=lambda _: None)
            assert client.server_version() == (3, 8, 0)
            assert client.command(b"ruok") == "imok"
            return {word: ask(address, word.encode()) for word in WORDS}
        finally:
            client.stop()
            client.close()

    def shape(text: str) -> str:
        return NUMBER.sub("#", re.sub(r"3\.8\.0-\S+, built on .*", "VERSION", text))

    def keys(text: str) -> set[str]:
        return {line.partition("=")[0].partition("\t")[0] for line in text.splitlines()}

    with start_server(tmp_path / "ours") as alone:
        ours = texts(alone.address)
    with start_zookeeper(tmp_path / "theirs", quick_start=True) as zookeeper:
        theirs = texts(zookeeper.servers[0].address)
    for word in ("ruok", "isro", "dirs", "wchs", "wchc", "wchp", "crst", "srst", "hash", "srvr"):
        assert shape(ours[word]) == shape(theirs[word])
    for word in ("stat", "cons"):
        assert sorted(shape(ours[word]).splitlines()) == sorted(shape(theirs[word]).splitlines())
    assert {line for line in shape(ours["dump"]).splitlines() if "#:#" not in line} == {
        line for line in shape(theirs["dump"]).splitlines() if "#:#" not in line
    }
    assert keys(ours["mntr"]) < keys(theirs["mntr"])
    assert keys(theirs["conf"]) - keys(ours["conf"]) == {"clientPortListenBacklog"}
    assert keys(ours["conf"]) < keys(theirs["conf"])
    assert {key for key in keys(ours["envi"]) - keys(theirs["envi"]) if not key.startswith("python.")} == set()
