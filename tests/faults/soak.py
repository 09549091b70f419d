"""Half an hour of kazoo's and our own clients on the same nodes, while servers are killed, paused and started again.

    python -m tests.faults.soak                  # 30 minutes; pip install kazoo
    python -m tests.faults.soak --minutes 2 --seed 7

It goes round by round: each round has nodes of its own, and a history of everything that any client asked and was told.
Behind each round the servers must hold the same tree, and the history must be linearizable, in order for each session,
with every watch told before the data; a violation ends the soak with an account of it and exit code 1.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Thread
from time import monotonic_ns

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError as KazooBadVersion
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    OperationTimeoutError,
    SessionExpiredError,
)
from kazoo.exceptions import NodeExistsError as KazooNodeExists
from kazoo.exceptions import NoNodeError as KazooNoNode
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from zk.history import HistoryError, Operation, Recorder, check
from zk.history.history import FOR_EVER_US, Answer, Request
from zk.model.errors import APIError, BadVersionError, NodeExistsError, NoNodeError
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, Body, Created, DataReply, StatReply
from zk.model.requests import ANY_VERSION, Create, Delete, Exists, GetData, SetData
from zk.model.stat import Stat
from zk.server.testing import Ensemble, start_ensemble

SERVERS = 3
NATIVE_CLIENTS = 4
KAZOO_CLIENTS = 4
NODES = 8
ROUND_S = 30.0
HARM_EVERY_S = 2.5
PAUSE_S = 1.5  # of a server; more than the time after which a leader is given up
REST_S = 0.04  # of a client between two calls, on average
CALL_S = 10.0

_REFUSALS: dict[type[KazooException], type[APIError]] = {
    KazooNoNode: NoNodeError,
    KazooNodeExists: NodeExistsError,
    KazooBadVersion: BadVersionError,
}


class KazooWorker(Thread):
    """One kazoo client, unmodified, that makes one call after the other and tells the recorder of each.

    An answer's zxid is kazoo's last_zxid, which it takes from the answer's header: there is one call at a time. Each
    session counts as a client of its own, for kazoo promises nothing from one to the next.
    """

    def __init__(self, hosts: str, name: str, recorder: Recorder, random: Random) -> None:
        super().__init__(name=name, daemon=True)
        self.failure: BaseException | None = None
        self.answered = 0
        self._recorder = recorder
        self._random = random
        self._values = 0
        self._versions = dict.fromkeys(recorder.paths, 0)
        self._zk = KazooClient(
            hosts, timeout=6.0, connection_retry=KazooRetry(max_tries=-1, delay=0.05, backoff=1, max_delay=0.2)
        )

    def run(self) -> None:
        try:
            self._zk.start(timeout=60)
            while not self._recorder.stopping:
                time.sleep(self._random.uniform(0, 2 * REST_S))
                self._ask(self._wish())
            self._zk.stop()
            self._zk.close()
        except BaseException as error:
            self.failure = error

    def _wish(self) -> Request:
        random = self._random
        path = random.choice(self._recorder.paths)
        version = self._versions[path] if random.random() < 0.4 else ANY_VERSION
        draw = random.random()
        if draw < 0.35:
            return GetData(path) if draw < 0.25 else Exists(path)
        if draw < 0.7:
            return SetData(path, self._value(), version)
        if draw < 0.9:
            return Create(path, self._value())
        return Delete(path, version)

    def _value(self) -> bytes:
        self._values += 1
        return b"%d of %s" % (self._values, self.name.encode())

    def _ask(self, request: Request) -> None:
        asked = Operation(f"{self.name}, session {self._session}", request, _now_us())
        number = self._recorder.asked(asked)
        body: Body | APIError
        try:
            body = self._call(request)
        except tuple(_REFUSALS) as error:
            body = _REFUSALS[type(error)](asked.paths[0])
        except (ConnectionLoss, ConnectionClosedError, OperationTimeoutError, SessionExpiredError, KazooTimeoutError):
            kept = replace(asked, returned_us=FOR_EVER_US) if asked.is_write else None
            self._recorder.ended(number, "unknown" if asked.is_write else "void", kept)
            return
        if asked.client != f"{self.name}, session {self._session}":
            asked = replace(asked, client=f"{self.name}, session {self._session}")  # it began while the call waited
        answer = Answer(Zxid(self._zk.last_zxid), body)
        self._recorder.ended(number, "answered", replace(asked, returned_us=_now_us(), answer=answer))
        self.answered += 1

    @property
    def _session(self) -> str:
        client_id = self._zk.client_id
        return "none" if client_id is None else f"{client_id[0]:x}"

    def _call(self, request: Request) -> Body:
        zk = self._zk
        match request:
            case GetData(path):
                data, stat = zk.get_async(path).get(timeout=CALL_S)
                return DataReply(data, self._seen(path, stat))
            case Exists(path):
                found = zk.exists_async(path).get(timeout=CALL_S)
                if found is None:
                    raise KazooNoNode
                return StatReply(self._seen(path, found))
            case SetData(path, data, version):
                return StatReply(self._seen(path, zk.set_async(path, data, version).get(timeout=CALL_S)))
            case Create(path, data):
                created, stat = zk.create_async(path, data, include_data=True).get(timeout=CALL_S)
                return Created(created, self._seen(path, stat))
            case Delete(path, version):
                zk.delete_async(path, version).get(timeout=CALL_S)
                return DONE
            case _:
                raise AssertionError(f"{request!r} is nobody's wish")

    def _seen(self, path: str, told: Sequence[int]) -> Stat:
        """kazoo's ZnodeStat has the same eleven figures, in an order of its own: by name."""
        self._versions[path] = told.version  # type: ignore[attr-defined]  # kazoo ships no types
        figures = {name: getattr(told, _KAZOO_NAMES[name]) for name in _KAZOO_NAMES}
        return Stat(**{**figures, "ephemeral_owner": SessionId(figures["ephemeral_owner"])})


_KAZOO_NAMES = {
    **{name: name for name in ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "pzxid")},
    "ephemeral_owner": "ephemeralOwner",
    "data_length": "dataLength",
    "num_children": "numChildren",
}


def _now_us() -> int:
    return monotonic_ns() // 1_000


def harm(ensemble: Ensemble, random: Random) -> str:
    """Kill a server, often the leader, or pause it; what was done."""
    victim = random.choice(ensemble.servers) if random.random() < 0.6 else ensemble.leader()
    if random.random() < 0.25:
        victim.pause()
        time.sleep(random.uniform(0.1, PAUSE_S))
        victim.resume()
        return "pause"
    victim.kill()
    time.sleep(random.uniform(0.0, 0.7))
    victim.start()
    return "kill"


def one_round(ensemble: Ensemble, number: int, random: Random) -> str:
    """Clients at work and servers harmed for a while; then everything is checked. What came of it, in a line."""
    hosts = [str(server.address) for server in ensemble.servers]
    harms = dict.fromkeys(("kill", "pause"), 0)
    recorder = Recorder(hosts, clients=NATIVE_CLIENTS, keys=NODES, seed=number, pause_ms=REST_S * 1000)
    workers = [
        KazooWorker(",".join(hosts), f"kazoo {each}", recorder, Random(random.random()))
        for each in range(KAZOO_CLIENTS)
    ]
    with recorder:
        for worker in workers:
            worker.start()
        until_s = time.monotonic() + ROUND_S
        while (left_s := until_s - time.monotonic()) > 0:
            harms[harm(ensemble, random)] += 1
            time.sleep(min(left_s, random.uniform(0, 2 * HARM_EVERY_S)))
        ensemble.wait_until_serving()
        recorder.wait_for_answers(50)
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive(), f"{worker.name} did not end"
        if worker.failure is not None:
            raise worker.failure
    agreed = ensemble.wait_until_agreed()
    check(recorder.history)
    for server in ensemble.servers:
        assert not any(word in server.log for word in ("Traceback", "CRITICAL")), server.log
    counts = recorder.counts
    return (
        f"round {number}: {harms['kill']} servers killed, {harms['pause']} paused; {counts.answered} calls answered "
        f"({sum(worker.answered for worker in workers)} of kazoo's), {counts.unknown} unknown, {counts.watches_told} "
        f"watches told; zxid 0x{agreed.zxid:x}, digest {agreed.digest[:8]}: all holds"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random = Random(options.seed)
    until_s = time.monotonic() + 60 * options.minutes
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # it speaks of every connection that breaks
    with tempfile.TemporaryDirectory() as directory, start_ensemble(Path(directory), SERVERS) as ensemble:
        number = 0
        while time.monotonic() < until_s:
            number += 1
            try:
                print(one_round(ensemble, number, random), flush=True)
            except HistoryError as error:
                print(f"round {number}, seed {options.seed}: {error}")
                return 1
    print(f"{number} rounds in {options.minutes:g} minutes: histories linear, sessions in order, digests equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
