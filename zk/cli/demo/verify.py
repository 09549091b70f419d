"""What must have come of the demo. Everything is read anew, by linearizable reads of a fresh session, and held against
the files and against what each process was told."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import anyio
from zkclient import AsyncZooKeeper

from zk.cli.demo import plan
from zk.cli.demo.journal import Entry, What
from zk.cli.status import ask_all
from zk.model.errors import ZKError
from zk.model.record import record
from zk.model.stat import Stat

AGREEMENT_TIMEOUT_S = 5.0


@record
class Finding:
    """One thing that must hold: whether it does, and the figures."""

    claim: str
    holds: bool
    figures: str


@record
class Evidence:
    """All that is known at the end: the tree, the files, and what the processes were told."""

    source: plan.Source
    jobs: Sequence[plan.Job]
    results: Mapping[str, tuple[plan.Result, Stat]]
    jobs_left: Sequence[str]
    journals: Mapping[str, Sequence[Entry]]
    probe_acknowledged: int
    probe_version: int

    def entries(self, what: What) -> list[tuple[str, Entry]]:
        """The journals' entries of one kind with their workers, in the order in which they were written."""
        found = [
            (worker, entry) for worker, entries in self.journals.items() for entry in entries if entry.what is what
        ]
        return sorted(found, key=lambda item: item[1].at_ns)


async def read_tree(zk: AsyncZooKeeper) -> tuple[dict[str, tuple[plan.Result, Stat]], tuple[str, ...], int]:
    """The results by job, the jobs that are left, and the version of the probe's node."""
    results = {}
    async for page in zk.pages(plan.RESULTS, with_data=True, read="linearizable"):
        for entry in page:
            assert entry.data is not None
            assert entry.stat is not None
            results[entry.name] = (plan.Result.decode(entry.data), entry.stat)
    left = await zk.get_children(plan.JOBS, read="linearizable")
    _, probe = await zk.get(plan.PROBE, read="linearizable")
    return results, left, probe.version


def verify(evidence: Evidence) -> Iterator[Finding]:
    """All that must hold of the tree."""
    yield _hashes(evidence)
    yield _exactly_once(evidence)
    yield _tokens(evidence)
    yield _acknowledged(evidence)


def _hashes(evidence: Evidence) -> Finding:
    right = size_bytes = 0
    for job in evidence.jobs:
        if job.name in evidence.results:
            result, _ = evidence.results[job.name]
            sha256, size = plan.sha256(evidence.source.locate(job.file))
            right += (result.file, result.sha256, result.size) == (job.file, sha256, size)
            size_bytes += size
    return Finding(
        "every file's hash is right",
        right == len(evidence.jobs),
        f"{right} of {len(evidence.jobs)} files, {size_bytes:,} bytes, hashed anew",
    )


def _exactly_once(evidence: Evidence) -> Finding:
    """A result's version counts the writes after the one that created it, so it must be 0; and no two workers were told
    that they recorded the same job."""
    wanted = {job.name for job in evidence.jobs}
    rewritten = sum(stat.version != 0 for _, stat in evidence.results.values())
    told = Counter(entry.job for _, entry in evidence.entries(What.RECORDED))
    doubled = sum(times > 1 for times in told.values())
    return Finding(
        "every result was recorded exactly once",
        evidence.results.keys() == wanted and not evidence.jobs_left and not rewritten and not doubled,
        f"{len(evidence.results)} results, {len(evidence.jobs_left)} jobs left, "
        f"{rewritten} written twice, {doubled} recorded by two workers",
    )


def _tokens(evidence: Evidence) -> Finding:
    """Of every lock, and of the leadership, each grant's token is larger than the one before; a result carries a
    token that was granted for its job; and every token is older than what was recorded under it."""
    grants: dict[str, list[int]] = defaultdict(list)
    for what in (What.GRANTED, What.LEADS):
        for _, entry in evidence.entries(what):
            grants[entry.job].append(entry.token)
    backwards = sum(later <= earlier for tokens in grants.values() for earlier, later in pairwise(tokens))
    stale = sum(
        result.token not in grants[job] or result.token >= stat.czxid
        for job, (result, stat) in evidence.results.items()
    )
    everything = [token for tokens in grants.values() for token in tokens]
    reused = len(everything) - len(set(everything))
    return Finding(
        "no fencing token went backwards",
        not backwards and not stale and not reused,
        f"{len(everything)} grants on {len(grants)} locks: {backwards} backwards, {reused} reused, {stale} stale",
    )


def _acknowledged(evidence: Evidence) -> Finding:
    """Whatever a worker was told is recorded is there, as that worker recorded it; and the probe's node has one version
    for each write that the probe was told of."""
    missing = 0
    recorded = evidence.entries(What.RECORDED)
    for worker, entry in recorded:
        result = evidence.results.get(entry.job)
        missing += result is None or (result[0].worker, result[0].token) != (worker, entry.token)
    off = evidence.probe_version - evidence.probe_acknowledged
    return Finding(
        "no acknowledged write is missing, none was done twice",
        not missing and not off,
        f"{len(recorded):,} results and {evidence.probe_acknowledged:,} probe writes acknowledged: "
        f"{missing} results missing, probe's node {off:+} versions",
    )


async def agreement(servers: Sequence[str]) -> Finding:
    """All servers have the same digest at the same zxid. A moment is allowed for the last transaction to arrive."""
    answers = await ask_all(servers)
    with anyio.move_on_after(AGREEMENT_TIMEOUT_S):
        while len({answer if isinstance(answer, ZKError) else answer.zxid for answer in answers.values()}) > 1:
            await anyio.sleep(0.05)
            answers = await ask_all(servers)
    states = {
        server: f"unreachable ({answer})" if isinstance(answer, ZKError) else f"{answer.digest} at {answer.zxid:#x}"
        for server, answer in answers.items()
    }
    same = len(set(states.values())) == 1 and not any(isinstance(answer, ZKError) for answer in answers.values())
    figures = (
        next(iter(states.values())) if same else "; ".join(f"{server}: {state}" for server, state in states.items())
    )
    return Finding("all servers agree on zxid and digest", same, figures)
