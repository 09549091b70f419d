"""What a server refuses, and that it says so in its turn."""

from typing import TYPE_CHECKING

import pytest

from zk.model.acl import Acl, Identity
from zk.model.errors import (
    APIError,
    AuthFailedError,
    MarshallingError,
    NoAuthError,
    SessionExpiredError,
    ThrottledError,
    UnimplementedError,
)
from zk.model.events import WatcherType, WatchMode
from zk.model.limits import Limits
from zk.model.peering import ReadIndexAsk
from zk.model.record import SessionId
from zk.model.replies import DONE, ConnectReply, Created, IdentitiesReply, MultiReply, Reply, StatReply, StatusReply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Check,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    Exists,
    GetData,
    GetStatus,
    Malformed,
    Multi,
    MultiRead,
    Ping,
    RemoveWatches,
    SetData,
    WhoAmI,
)
from zk.model.znode import Znode
from zk.replica.events import DiskSpace
from zk.replica.identities import SUPER
from zk.tree.acl import digest_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.replica.conftest import Cluster


def test_a_nearly_full_disk_refuses_writes_and_new_sessions_in_their_turn_and_goes_on_reading(one: "Cluster") -> None:
    client = one.connect().open()
    client.ask(Create("/n", b"x"))
    earlier = client.call(SetData("/n", b"y"))
    one.step(client.server_id, DiskSpace(low=True))
    xids = [client.call(SetData("/n", b"z")), client.call(AddAuth("digest", b"ann:secret")), client.call(GetData("/n"))]
    one.settle()
    assert [item.xid for item in client.received if isinstance(item, Reply)][-4:] == [earlier, *xids]
    answers = [client.answer_to(xid) for xid in [earlier, *xids]]
    assert [type(answer) for answer in answers] == [StatReply, ThrottledError, ThrottledError, Znode]
    assert "nearly full" in str(answers[1])
    late = one.connect()
    assert isinstance(late.ask(Connect(SessionId(0), b"", 10_000)), ThrottledError)
    assert late.closed is not None
    back = one.connect()
    assert isinstance(back.attach(client.session), ConnectReply)
    assert back.ask(CloseSession()) == DONE


def test_with_a_nearly_full_disk_a_resent_write_that_had_been_done_gets_its_answer(one: "Cluster") -> None:
    first = one.connect().open()
    xid = first.call(Create("/n", b"x"))
    one.settle()
    done = first.answer_to(xid)
    assert isinstance(done, Created)
    first.drop()
    one.step(first.server_id, DiskSpace(low=True))
    again = one.connect()
    again.attach(first.session)
    again.call(Create("/n", b"x"), xid=xid)
    one.settle()
    assert again.answer_to(xid) == done


def test_a_soft_quota_refuses_nothing_and_is_spoken_of_once_a_minute(one: "Cluster") -> None:
    client = one.connect().open(timeout_ms=40_000)
    for path in ("/a", "/zookeeper/quota/a"):
        client.ask(Create(path, b""))
    client.ask(Create("/zookeeper/quota/a/zookeeper_limits", b"count=1,bytes=-1"))
    for name in ("b", "c"):
        assert isinstance(client.ask(Create(f"/a/{name}", b"")), Created)
    assert [log.text[:26] for log in one.logs[client.server_id]] == ["/a is above its soft quota"]
    for _ in range(3):
        one.advance(21_000)
        client.ask(Ping())
    client.ask(Create("/a/d", b""))
    assert len(one.logs[client.server_id]) == 2


def test_with_room_on_the_disk_again_writes_are_taken(one: "Cluster") -> None:
    client = one.connect().open()
    for low in (True, False):
        one.step(client.server_id, DiskSpace(low=low))
    assert isinstance(client.ask(Create("/n", b"")), Created)


def test_until_a_refusal_was_heard_what_comes_behind_it_is_refused_too(one: "Cluster") -> None:
    """Otherwise, with the connection broken in between, the first would be sent again and done behind the second."""
    client = one.connect().open()
    one.step(client.server_id, DiskSpace(low=True))
    first = client.call(Create("/first", b""), xid=50, floor=50)
    one.step(client.server_id, DiskSpace(low=False))
    second = client.call(Create("/second", b""), xid=51, floor=50)
    third = client.call(Create("/third", b""), xid=52, floor=52)
    one.settle()
    assert isinstance(client.answer_to(first), ThrottledError)
    assert isinstance(client.answer_to(second), ThrottledError)
    assert isinstance(client.answer_to(third), Created)


def test_a_leader_whose_disk_is_nearly_full_hands_over(three: "Cluster") -> None:
    old_leader = three.leader_id
    three.step(old_leader, DiskSpace(low=True))
    three.run_until(lambda: three.leader is not None and three.leader_id != old_leader)
    client = three.connect(three.leader_id).open()
    assert isinstance(client.ask(Create("/n", b"")), Created)


def test_a_malformed_call_is_refused_in_its_turn_and_the_connection_goes_on(one: "Cluster") -> None:
    client = one.connect().open()
    error = MarshallingError("", "this is no request")
    xids = [client.call(Create("/n", b"")), client.call(Malformed(error)), client.call(GetData("/n"))]
    one.settle()
    assert [item.xid for item in client.received if isinstance(item, Reply)][-3:] == xids
    assert client.answer_to(xids[1]) == error
    assert isinstance(client.answer_to(xids[2]), Znode)
    assert client.closed is None


def test_a_final_refusal_is_the_last_thing_that_a_connection_hears(one: "Cluster") -> None:
    client = one.connect().open()
    error = UnimplementedError("", "there is no such operation here")
    calls = (Create("/n", b""), Malformed(error, final=True), GetData("/n"), Create("/m", b""))
    written, refused, *_ = [client.call(call) for call in calls]
    one.settle()
    assert [item.xid for item in client.received if isinstance(item, Reply)][-2:] == [written, refused]
    assert client.answer_to(refused) == error
    assert client.closed is not None


def test_whatever_comes_before_connect_ends_the_connection_with_a_hint(one: "Cluster") -> None:
    error = MarshallingError("", "this is no request")
    for request in (GetData("/"), Create("/n", b""), Ping(), CloseSession(), Malformed(error)):
        client = one.connect()
        answer = client.ask(request)
        assert isinstance(answer, SessionExpiredError)
        assert "Connect comes first" in str(answer)
        assert client.closed is not None


def test_a_status_needs_no_session(one: "Cluster") -> None:
    client = one.connect()
    status = client.ask(GetStatus())
    assert isinstance(status, StatusReply)
    assert (status.server_id, status.role, status.leader, status.connections) == (1, "leader", 1, 1)
    assert client.closed is None


def test_a_connection_takes_no_more_watches_than_its_limit(new_cluster: "Callable[..., Cluster]") -> None:
    client = new_cluster(1, limits=Limits(watches_per_connection_max=2)).connect().open()
    answers = [client.ask(Exists(f"/n{number}", watch=True)) for number in range(3)]
    assert isinstance(answers[2], ThrottledError)
    assert "2 watches" in str(answers[2])


def test_a_session_that_expires_while_its_connection_lives_gets_told_and_the_connection_is_closed(
    three: "Cluster",
) -> None:
    client = three.connect(three.follower_id).open(timeout_ms=4_000)
    three.lost_kinds.add(ReadIndexAsk)
    waiting = client.call(GetData("/"), linearizable=True)
    three.advance(4_500)
    assert isinstance(client.answer_to(waiting), SessionExpiredError)
    assert client.closed == "the session is over"


def test_schemes_of_connections_add_nothing_and_are_refused_where_the_connection_has_no_such_identity(
    one: "Cluster",
) -> None:
    client = one.connect().open()
    assert client.ask(AddAuth("ip", b"whatever")) == DONE
    assert client.ask(WhoAmI()) == IdentitiesReply((Identity("ip", "127.0.0.1"),))
    for scheme in ("x509", "world", "super", "sasl", "nonsense", ""):
        other = one.connect().open()
        assert isinstance(other.ask(AddAuth(scheme, b"me:secret")), AuthFailedError)
        assert other.closed is not None


def test_whose_digest_is_the_super_digest_may_do_everything_and_only_they(
    new_cluster: "Callable[..., Cluster]",
) -> None:
    digest = digest_identity(b"super:secret")
    cluster = new_cluster(1, super_digest=digest.id)
    owner, other, chief = (cluster.connect().open() for _ in range(3))
    owner.ask(AddAuth("digest", b"ann:secret"))
    owner.ask(Create("/hers", b"", (Acl(31, "auth", ""),)))
    other.ask(AddAuth("digest", b"super:another"))
    assert isinstance(other.ask(GetData("/hers")), NoAuthError)
    assert chief.ask(AddAuth("digest", b"super:secret")) == DONE
    assert isinstance(chief.ask(GetData("/hers")), Znode)
    mine = (Identity("ip", "127.0.0.1"), SUPER, digest)
    assert chief.ask(WhoAmI()) == IdentitiesReply(mine)
    moved = cluster.connect()
    moved.attach(chief.session)
    assert moved.ask(WhoAmI()) == IdentitiesReply(mine)


def test_without_a_super_digest_nobody_is_super(one: "Cluster") -> None:
    client = one.connect().open()
    client.ask(AddAuth("digest", b""))
    assert client.ask(WhoAmI()) == IdentitiesReply((Identity("ip", "127.0.0.1"), digest_identity(b"")))


def test_identities_given_before_count_for_what_comes_behind_them_in_the_pipeline(one: "Cluster") -> None:
    ann, other = one.connect().open(), one.connect().open()
    ann.call(AddAuth("digest", b"ann:secret"))
    ann.call(Create("/mine", b"", (Acl(31, "auth", ""),)))
    read = ann.call(GetData("/mine"))
    one.settle()
    assert isinstance(ann.answer_to(read), Znode)
    assert isinstance(other.ask(GetData("/mine")), NoAuthError)


@pytest.mark.parametrize(
    "request_",
    [
        GetData("/missing"),
        GetData("missing", watch=True),
        SetData("/missing", b""),
        Multi((Check("/missing"),)),
        MultiRead((GetData("/missing"),)),
        AddWatch("missing", WatchMode.RECURSIVE),
        RemoveWatches("/missing", WatcherType.ANY),
        AddAuth("unknown", b""),
    ],
)
def test_a_refusal_holds_nothing_of_what_was_on_the_stack(one: "Cluster", request_: ClientRequest) -> None:
    body = one.connect().open().ask(request_)
    error = body.results[0] if isinstance(body, MultiReply) else body
    assert isinstance(error, APIError)
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
