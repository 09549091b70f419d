"""What must hold for the broadcast, after every step of every engine: one function per invariant, each with its source.

The checks see events and effects from outside, and the disks through their mirrors; they never trust an engine's own
word about what is durable or committed. A breach ends the run by `World.fail`.

"Zab" stands for Junqueira, Reed, Serafini, "Zab: High-performance broadcast for primary-backup systems" (DSN 2011);
"Raft" for Ongaro, Ousterhout, "In search of an understandable consensus algorithm" (USENIX ATC 2014).
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from zk.broadcast import engine, messages
from zk.broadcast.engine import Role
from zk.broadcast.membership import Membership
from zk.broadcast.records import Entry, EntryKind, Promise, Recovered, SnapshotRef, Truncate
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import counter_of, epoch_of
from zk.sim.mirror import NO_EPOCH, LogShape, Mirror, shape_of
from zk.sim.trace import zxid_text
from zk.sim.world import MS, World

NO_LEADER = ServerId(0)
FRESH_MS = 240
"""A leader that a follower has heard so recently is not given up for another: a little less than
`ZabConfig.leader_timeout_ms`, since clocks differ."""


@dataclass(slots=True)
class _Life:
    """One incarnation of one server, as seen from outside."""

    server: ServerId
    incarnation: int
    position: int  # how much of the common history its state covers
    delivered: Zxid
    role: Role = Role.LOOKING
    epoch: Epoch = NO_EPOCH
    leader: ServerId = NO_LEADER
    heard_us: int = 0  # when it last answered a ping of its leader
    proposed: int = 0
    waiting: dict[int, tuple[engine.Token, bytes]] = field(default_factory=dict)  # by id: a token needs no hash
    reads: dict[int, tuple[engine.Token, Zxid]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"server {self.server} (start {self.incarnation})"


@dataclass(slots=True)
class _Proposed:
    """Who proposed a payload, as the how-manieth in that life; how often the same bytes were proposed, and refused."""

    life: _Life
    number: int
    times: int = 1
    refused: int = 0
    delivered: int = 0


class BroadcastChecks:
    """The common history, and every way in which a step may contradict it. `jumps_to`: the counter to which an epoch
    may skip, so that the end of the counters is near; 0 if there is none."""

    def __init__(self, world: World, voters: Sequence[ServerId], jumps_to: int) -> None:
        self.world = world
        self.voters = tuple(voters)
        self._jumps_to = jumps_to
        self.quorum = len(voters) // 2 + 1
        self.mirrors = {server: Mirror() for server in voters}
        self.on_committed: Callable[[Zxid, bytes], None] = lambda zxid, payload: None
        self.on_leading: Callable[[Epoch], None] = lambda epoch: None
        self.history: list[tuple[Zxid, bytes]] = []
        self.acknowledged = Zxid(0)
        self.led_since_us = 0  # when the newest leader began to serve
        self._zxids: list[Zxid] = []  # of the history, to search in
        self._entries: dict[Zxid, tuple[Zxid, Entry]] = {}  # each entry ever seen, with its predecessor
        self._lives: dict[ServerId, _Life] = {}
        self._disks: dict[ServerId, str] = {}  # each server's disk, by its uuid
        self._named: set[tuple[ServerId, str]] = set()  # disks that a membership has named
        self._lost: dict[ServerId, LogShape] = {}  # what was taken from a disk, until its server is counted again
        self._leaders: dict[Epoch, tuple[ServerId, int]] = {}
        self._proposed: dict[bytes, _Proposed] = {}
        self._last_of: dict[tuple[ServerId, int], tuple[Epoch, int]] = {}  # newest delivered proposal of each life
        self._excused: dict[tuple[ServerId, int], set[int]] = {}  # refused, or like another to the byte
        self._digests: dict[Zxid, str] = {}
        self._configs: tuple[frozenset[ServerId], ...] = (frozenset(voters),)

    # ---- what the nodes report

    def started(self, server: ServerId, incarnation: int, recovered: Recovered, tampered: bool) -> None:
        """A server starts with what its disk gave. `tampered`: the simulation took away what was durable."""
        mirror = self.mirrors[server]
        if tampered:
            self._lost.setdefault(server, mirror.durable)
            mirror.replace(shape_of(recovered))
        else:
            if recovered.damaged:
                self.world.fail("durability", f"server {server} takes a sound disk for damaged")
            self._accepted_epoch_kept(server, recovered)
            self._durable_is_recovered(server, recovered)
        for record in recovered.records:
            if isinstance(record, Entry):
                self._recovered_is_what_was_written(server, record)
        self._disks[server] = recovered.disk_uuid
        base = recovered.snapshot.zxid if recovered.snapshot is not None else Zxid(0)
        self._lives[server] = _Life(server, incarnation, self._position(base), base)

    def synced(self, server: ServerId, lsn: int) -> None:
        """The disk holds all records of this incarnation up to `lsn`, before the engine hears of it."""
        self.mirrors[server].synced(lsn)

    def stepped(self, server: ServerId, event: engine.Event, effects: Sequence[engine.Effect]) -> None:
        """The engine of `server` took `event`, and answered `effects`."""
        life = self._lives[server]
        if isinstance(event, engine.Propose):
            for payload, token in zip(event.payloads, event.tokens, strict=True):
                self._note_proposal(life, payload, token)
        elif isinstance(event, engine.ReadIndex):
            life.reads[id(event.token)] = (event.token, self.acknowledged)
        for effect in effects:
            match effect:
                case engine.Send():
                    self._sent(life, effect.message)
                case engine.Append():
                    self._appended(life, effect)
                case engine.Deliver():
                    tokens = effect.tokens or [None] * len(effect.entries)
                    for entry, token in zip(effect.entries, tokens, strict=True):
                        self._delivered(life, entry, token)
                    self._delivered_is_durable(life)
                    self.world.counters["deliver"] += len(effect.entries)
                case engine.Install():
                    self._snapshot_is_history(life, effect.ref)
                    self.world.counters["install"] += 1
                case engine.RoleChanged():
                    self._role_changed(life, effect)
                case engine.ReadReady():
                    self._read_is_fresh(life, effect)
                    self.world.counters["read"] += 1
                case engine.Rejected():
                    self._rejected(life, effect)
                case engine.Halt():
                    self.world.fail("halt", f"server {server} halted: {effect.reason}")
                case engine.StoreSnapshot() | engine.TakeSnapshot() | engine.Disconnect():
                    self.world.counters[type(effect).__name__] += 1

    def digest(self, server: ServerId, zxid: Zxid, digest: str) -> None:
        """(19) Equal states at equal zxids: `server` says that its state at `zxid` has this digest. Source: Raft,
        state machine safety."""
        expected = self._digests.setdefault(zxid, digest)
        if digest != expected:
            self.world.fail("equal digests", f"server {server} at {zxid_text(zxid)}: {digest}, elsewhere {expected}")

    # ---- what they amount to

    def _note_proposal(self, life: _Life, payload: bytes, token: engine.Token) -> None:
        life.proposed += 1
        if token is not None:
            life.waiting[id(token)] = (token, payload)
        known = self._proposed.get(payload)
        if known is None:
            self._proposed[payload] = _Proposed(life, life.proposed)
        else:
            known.times += 1
            for each, number in ((known.life, known.number), (life, life.proposed)):
                self._excused.setdefault((each.server, each.incarnation), set()).add(number)

    def _sent(self, life: _Life, message: messages.Message) -> None:
        self.world.counters[type(message).__name__] += 1
        match message:
            case messages.SyncLog() if message.entries:
                self.world.counters["diff"] += 1
            case messages.PongPeer():
                life.heard_us = self.world.now_us
            case messages.PollReply(granted=True):
                self._leader_is_kept(life, "grants a poll")

    def _appended(self, life: _Life, effect: engine.Append) -> None:
        mirror = self.mirrors[life.server]
        for record in effect.records:
            match record:
                case Entry():
                    self._log_matching(life, mirror.appended.last, record)
                    if record.kind is EntryKind.CONFIG:
                        membership = Membership.decode(record.payload)
                        self._configs_intersect(life, membership)
                        self._named.update(membership.disks)
                case Truncate():
                    self._truncates_above_delivered(life, record)
                    self.world.counters["truncate"] += 1
                case Promise():
                    if record.epoch <= mirror.appended.accepted:
                        self._promise_is_strict(life, record)
                case SnapshotRef():
                    self.world.counters["snapshot"] += 1
            mirror.append((record,))

    def _delivered(self, life: _Life, entry: Entry, token: engine.Token) -> None:
        zxid, payload = entry.zxid, entry.payload
        if life.position == len(self.history):
            self._zxid_order(life, zxid)
            self._integrity(life, zxid, payload)
            self._commit_truth(life, zxid)
            self._primary_order(life, zxid, payload)
            self.history.append((zxid, payload))
            self._zxids.append(zxid)
            self.on_committed(zxid, payload)
        else:
            self._agreement(life, zxid, payload)
        life.position += 1
        life.delivered = zxid
        if token is not None:
            self._token_comes_home(life, zxid, payload, token)
            self.acknowledged = max(self.acknowledged, zxid)

    def _role_changed(self, life: _Life, effect: engine.RoleChanged) -> None:
        if life.role is Role.LEADING and effect.role is not Role.LEADING:
            self.world.counters["step-down"] += 1
        if effect.role is Role.FOLLOW_SYNC and effect.leader != life.leader:
            self._leader_is_kept(life, f"obeys server {effect.leader}")
        life.role, life.epoch, life.leader = effect.role, effect.epoch, effect.leader
        if effect.role in (Role.FOLLOWING, Role.LEADING):
            self._lost.pop(life.server, None)
        if effect.role in (Role.LEAD_SYNC, Role.LEADING):
            self._one_leader(life)
        if effect.role is Role.LEADING:
            self._leader_completeness(life)
            self.world.counters["leader"] += 1
            self.led_since_us = self.world.now_us
            self.on_leading(life.epoch)

    def _rejected(self, life: _Life, effect: engine.Rejected) -> None:
        self.world.counters["maybe applied" if effect.maybe_applied else "refused"] += len(effect.tokens)
        for token in effect.tokens:
            known = life.waiting.pop(id(token), None)
            if known is None:
                life.reads.pop(id(token), None)
            elif not effect.maybe_applied:
                proposed = self._proposed[known[1]]
                proposed.refused += 1
                self._excused.setdefault((life.server, life.incarnation), set()).add(proposed.number)

    def _position(self, zxid: Zxid) -> int:
        """How much of the history lies at or below `zxid`."""
        return bisect_left(self._zxids, zxid + 1)

    # ---- the invariants

    def _agreement(self, life: _Life, zxid: Zxid, payload: bytes) -> None:
        """(1) All servers deliver the same payloads in the same order. Source: Zab, agreement and total order."""
        expected = self.history[life.position]
        if (zxid, payload) != expected:
            self.world.fail(
                "agreement",
                f"{life} delivers {zxid_text(zxid)} as number {life.position} of the history, which is "
                f"{zxid_text(expected[0])}" + (" with another payload" if zxid == expected[0] else ""),
            )

    def _zxid_order(self, life: _Life, zxid: Zxid) -> None:
        """(2) zxids grow strictly, and no transaction of the log is skipped. Source: Zab, total order; gap-free
        delivery within an epoch."""
        last = self._zxids[-1] if self._zxids else Zxid(0)
        before = self._entries[zxid][0] if zxid in self._entries else Zxid(0)
        while before > last and self._entries[before][1].kind is not EntryKind.TXN:
            before = self._entries[before][0]
        if zxid <= last or before > last:
            self.world.fail(
                "zxid order", f"{life} delivers {zxid_text(zxid)} behind {zxid_text(last)}, which is no neighbour"
            )

    def _integrity(self, life: _Life, zxid: Zxid, payload: bytes) -> None:
        """(3, 12) What is delivered was proposed, is delivered once, and was not certainly refused. Source: Zab,
        integrity."""
        proposed = self._proposed.get(payload)
        if proposed is None:
            self.world.fail("integrity", f"{life} delivers at {zxid_text(zxid)} what nobody proposed")
        proposed.delivered += 1
        if proposed.delivered > proposed.times - proposed.refused:
            what = "what was certainly refused" if proposed.refused else "a payload again"
            self.world.fail("integrity", f"{life} delivers {what} at {zxid_text(zxid)}")

    def _commit_truth(self, life: _Life, zxid: Zxid) -> None:
        """(4) At its first delivery, an entry is on the disks of a quorum, or was, if one was lost while its
        acknowledgement was on the way. The disk of a learner does not count. Source: Zab, phase 3: a leader commits
        what a quorum has acknowledged, and to acknowledge is to have it on disk."""
        holders = [server for server in self.voters if self._held(server, zxid)]
        if len(holders) < self.quorum:
            self.world.fail("commit truth", f"{life} delivers {zxid_text(zxid)}, durable only on {holders}")

    def _held(self, server: ServerId, zxid: Zxid) -> bool:
        """Whether a disk of this server that the ensemble counts, or counted until it was lost, holds the entry."""
        lost = self._lost.get(server)
        counts = not self._named or (server, self._disks.get(server)) in self._named
        return (counts and self.mirrors[server].durable.holds(zxid)) or (lost is not None and lost.holds(zxid))

    def _leader_completeness(self, life: _Life) -> None:
        """(5) A leader that serves has everything delivered in earlier epochs. Source: Zab, primary integrity; Raft,
        leader completeness."""
        earlier = bisect_left(self._zxids, life.epoch << 32)
        if earlier and not self.mirrors[life.server].appended.holds(self._zxids[earlier - 1]):
            missing = zxid_text(self._zxids[earlier - 1])
            self.world.fail("leader completeness", f"{life} leads epoch {life.epoch} without {missing}")

    def _one_leader(self, life: _Life) -> None:
        """(6) An epoch has one leader, in one incarnation. Source: Zab, phase 1; Raft, election safety."""
        me = (life.server, life.incarnation)
        leader = self._leaders.setdefault(life.epoch, me)
        if leader != me:
            self.world.fail("one leader", f"epoch {life.epoch} is led by server {leader[0]} and by {life}")

    def _primary_order(self, life: _Life, zxid: Zxid, payload: bytes) -> None:
        """(7) One leader's proposals are delivered as proposed, without a hole within an epoch. Source: Zab, local
        primary order. (Global primary order follows from the order of zxids.)"""
        proposed = self._proposed[payload]
        if proposed.times > 1:
            return  # the same bytes twice: no telling which one this is
        key = (proposed.life.server, proposed.life.incarnation)
        epoch, number = self._last_of.get(key, (Epoch(0), 0))
        self._last_of[key] = (epoch_of(zxid), proposed.number)
        if proposed.number <= number:
            self.world.fail(
                "primary order", f"{proposed.life} proposed {proposed.number} behind {number}, delivered so"
            )
        excused = self._excused.get(key, ())
        if epoch == epoch_of(zxid):
            holes = [missing for missing in range(number + 1, proposed.number) if missing not in excused]
            if holes:
                self.world.fail(
                    "primary order", f"{life} delivers proposal {proposed.number} of {proposed.life} without {holes}"
                )

    def _log_matching(self, life: _Life, before: Zxid, entry: Entry) -> None:
        """(8) Logs that share a zxid are equal up to it: a zxid stands for one entry behind one predecessor, for ever.
        Counters are contiguous within an epoch, whose marker comes first. Source: Raft, log matching; Zab, 'zxid'."""
        known = self._entries.setdefault(entry.zxid, (before, entry))
        if known != (before, entry):
            self.world.fail(
                "log matching",
                f"{life} appends {zxid_text(entry.zxid)} behind {zxid_text(before)}; elsewhere it stands behind "
                f"{zxid_text(known[0])}" + ("" if known[1] == entry else ", with another content"),
            )
        if epoch_of(entry.zxid) == epoch_of(before):
            fits = entry.zxid == before + 1 or counter_of(entry.zxid) == self._jumps_to
        else:
            fits = entry.zxid > before and counter_of(entry.zxid) == 0 and entry.kind is EntryKind.MARKER
        if not fits:
            self.world.fail("log matching", f"{life} appends {zxid_text(entry.zxid)} right behind {zxid_text(before)}")

    def _accepted_epoch_kept(self, server: ServerId, recovered: Recovered) -> None:
        """(9) The accepted epoch on a disk never decreases. Source: Zab, phase 1, 'f.p' in stable storage."""
        accepted = shape_of(recovered).accepted
        if accepted < self.mirrors[server].durable.accepted:
            before = self.mirrors[server].durable.accepted
            self.world.fail("accepted epoch", f"server {server} comes back with epoch {accepted} after {before}")

    def _promise_is_strict(self, life: _Life, promise: Promise) -> None:
        """(9) A promise is given once: only for an epoch above the accepted one. Source: Zab, phase 1."""
        self.world.fail("accepted epoch", f"{life} promises epoch {promise.epoch} again")

    def _delivered_is_durable(self, life: _Life) -> None:
        """(10) What a server delivers is durable on its own disk. Source: this project's rule that a server serves only
        what it can't lose."""
        if not self.mirrors[life.server].durable.holds(life.delivered):
            self.world.fail("delivered <= durable", f"{life} delivers {zxid_text(life.delivered)} before its own fsync")

    def _truncates_above_delivered(self, life: _Life, truncate: Truncate) -> None:
        """(11) What was delivered is never dropped. Source: Zab, agreement."""
        if truncate.zxid < life.delivered:
            self.world.fail(
                "truncation", f"{life} truncates to {zxid_text(truncate.zxid)}, delivered {zxid_text(life.delivered)}"
            )

    def _token_comes_home(self, life: _Life, zxid: Zxid, payload: bytes, token: engine.Token) -> None:
        """(12) An outcome is told for the proposal that it belongs to, in the life that proposed it, once."""
        known = life.waiting.pop(id(token), None)
        if known is None or known[1] != payload:
            self.world.fail("tokens", f"{life} acknowledges at {zxid_text(zxid)} what it was not asked there")

    def _read_is_fresh(self, life: _Life, effect: engine.ReadReady) -> None:
        """(13) A linearizable read sees every write acknowledged before its call. Source: Ongaro, Raft thesis, 6.4."""
        known = life.reads.pop(id(effect.token), None)
        if known is None:
            self.world.fail("read index", f"{life} answers a read that was not asked")
        if effect.zxid < known[1]:
            self.world.fail(
                "read index",
                f"{life} reads at {zxid_text(effect.zxid)}; {zxid_text(known[1])} was acknowledged before the call",
            )
        if self._position(effect.zxid) > life.position:
            self.world.fail("read index", f"{life} reads at {zxid_text(effect.zxid)}, not yet delivered there")

    def _leader_is_kept(self, life: _Life, what: str) -> None:
        """A follower that hears its leader does not turn to another, or one server with a bad connection would bring
        down every leader. Source: Ongaro, Raft thesis, 4.2.3."""
        silent_ms = (self.world.now_us - life.heard_us) / MS
        if life.role is Role.FOLLOWING and silent_ms < FRESH_MS:
            self.world.fail(
                "sticky leader", f"{life} {what}, and answered server {life.leader} only {silent_ms:.0f} ms ago"
            )

    def _configs_intersect(self, life: _Life, membership: Membership) -> None:
        """(14) Decisions under two memberships that follow each other always meet in a server: some majority of the one
        meets every majority of the other. Source: Ongaro, Raft thesis, 4.3."""
        if not any(
            len(old) // 2 + 1 + len(new) // 2 + 1 > len(old | new)
            for old in self._configs
            for new in membership.configs
        ):
            self.world.fail("configurations", f"{life} goes from {self._configs} to {membership.configs}")
        self._configs = membership.configs

    def _snapshot_is_history(self, life: _Life, ref: SnapshotRef) -> None:
        """(1) An installed snapshot is the delivered state at a point of the history, never behind the own one.
        Source: Zab, agreement."""
        position = self._position(ref.zxid)
        known = self._entries.get(ref.zxid)
        delivered = position > 0 and self._zxids[position - 1] == ref.zxid
        if position < life.position or known is None or (known[1].kind is EntryKind.TXN and not delivered):
            self.world.fail("agreement", f"{life} installs a snapshot at {zxid_text(ref.zxid)}, not in its future")
        life.position, life.delivered = position, ref.zxid

    def _durable_is_recovered(self, server: ServerId, recovered: Recovered) -> None:
        """A restart brings back all that was durable, and of the rest no more than a beginning. Source: what a
        write-ahead log is for."""
        wrong = self.mirrors[server].restart(recovered)
        if wrong:
            self.world.fail("durability", f"server {server} {wrong}")

    def _recovered_is_what_was_written(self, server: ServerId, entry: Entry) -> None:
        """No damage to a disk passes for an entry. Source: what checksums are for."""
        known = self._entries.get(entry.zxid)
        if known is None or known[1] != entry:
            self.world.fail("durability", f"server {server} recovered {zxid_text(entry.zxid)}, never written like that")
