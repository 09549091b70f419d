"""The demo's verification finds what it is there to find: each test plants one violation in a good run."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from zk.cli.demo.journal import Entry, Journal, What, read_journals
from zk.cli.demo.plan import Job, Result, Source
from zk.cli.demo.verify import Evidence, verify
from zk.model.record import SessionId, Zxid
from zk.model.stat import Stat


def stat(czxid: int, version: int = 0) -> Stat:
    return Stat(Zxid(czxid), Zxid(czxid), 0, 0, version, 0, 0, SessionId(0), 1, 0, Zxid(czxid))


@pytest.fixture
def good(tmp_path: Path) -> Evidence:
    """Two jobs, done by two workers; w1 leads first, then w2."""
    source = Source((tmp_path,))
    jobs, results = [], {}
    for number, worker, token in ((1, "w1", 20), (2, "w2", 30)):
        file = tmp_path / f"{number}.txt"
        file.write_text(file.name)
        job = Job(f"000{number}", f"{tmp_path.name}/{file.name}")
        sha256 = hashlib.sha256(file.name.encode()).hexdigest()
        jobs.append(job)
        results[job.name] = (Result(job.file, sha256, 5, worker, token), stat(token + 1))
    journals = {
        "w1": (Entry(What.LEADS, "", 10, 1), Entry(What.GRANTED, "0001", 20, 2), Entry(What.RECORDED, "0001", 20, 3)),
        "w2": (Entry(What.GRANTED, "0002", 30, 4), Entry(What.RECORDED, "0002", 30, 5), Entry(What.LEADS, "", 40, 6)),
    }
    return Evidence(source, tuple(jobs), results, (), journals, probe_acknowledged=7, probe_version=7)


def failed(evidence: Evidence) -> list[str]:
    return [finding.claim for finding in verify(evidence) if not finding.holds]


def test_a_good_run_passes(good: Evidence) -> None:
    assert failed(good) == []


HASH = "every file's hash is right"
ONCE = "every result was recorded exactly once"
TOKENS = "no fencing token went backwards"
ACKNOWLEDGED = "no acknowledged write is missing, none was done twice"


def with_result(evidence: Evidence, job: str, result: Result, found: Stat) -> Evidence:
    return replace(evidence, results={**evidence.results, job: (result, found)})


def wrong_hash(good: Evidence) -> Evidence:
    result, found = good.results["0001"]
    return with_result(good, "0001", replace(result, sha256="00"), found)


def lost_result_that_was_acknowledged(good: Evidence) -> Evidence:
    return replace(good, results={"0002": good.results["0002"]})


def result_overwritten_in_place(good: Evidence) -> Evidence:
    result, found = good.results["0001"]
    return with_result(good, "0001", result, stat(found.czxid, version=1))


def result_replaced_by_another_worker(good: Evidence) -> Evidence:
    result, found = good.results["0001"]
    return with_result(good, "0001", replace(result, worker="w2"), found)


def job_left(good: Evidence) -> Evidence:
    return replace(good, jobs_left=("0002",))


def two_workers_told_of_one_job(good: Evidence) -> Evidence:
    journals = {**good.journals, "w3": (Entry(What.GRANTED, "0001", 21, 3), Entry(What.RECORDED, "0001", 21, 4))}
    return replace(good, journals=journals)


def lock_granted_with_an_older_token(good: Evidence) -> Evidence:
    return replace(good, journals={**good.journals, "w3": (Entry(What.GRANTED, "0001", 19, 9),)})


def leadership_granted_with_an_older_token(good: Evidence) -> Evidence:
    return replace(good, journals={**good.journals, "w3": (Entry(What.LEADS, "", 39, 9),)})


def one_token_for_two_locks(good: Evidence) -> Evidence:
    return replace(good, journals={**good.journals, "w3": (Entry(What.GRANTED, "0003", 20, 9),)})


def recorded_under_a_token_nobody_was_granted(good: Evidence) -> Evidence:
    result, found = good.results["0001"]
    return with_result(good, "0001", replace(result, token=5), found)


def probe_write_missing(good: Evidence) -> Evidence:
    return replace(good, probe_version=6)


def probe_write_done_twice(good: Evidence) -> Evidence:
    return replace(good, probe_version=8)


@pytest.mark.parametrize(
    ("plant", "claims"),
    [
        (wrong_hash, [HASH]),
        (lost_result_that_was_acknowledged, [HASH, ONCE, ACKNOWLEDGED]),
        (result_overwritten_in_place, [ONCE]),
        (result_replaced_by_another_worker, [ACKNOWLEDGED]),
        (job_left, [ONCE]),
        (two_workers_told_of_one_job, [ONCE, ACKNOWLEDGED]),
        (lock_granted_with_an_older_token, [TOKENS]),
        (leadership_granted_with_an_older_token, [TOKENS]),
        (one_token_for_two_locks, [TOKENS]),
        (recorded_under_a_token_nobody_was_granted, [TOKENS, ACKNOWLEDGED]),
        (probe_write_missing, [ACKNOWLEDGED]),
        (probe_write_done_twice, [ACKNOWLEDGED]),
    ],
)
def test_a_planted_violation_is_found(plant: Callable[[Evidence], Evidence], claims: list[str], good: Evidence) -> None:
    assert failed(plant(good)) == claims


def test_a_journal_is_read_up_to_what_a_kill_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w1")
    journal.write(What.GRANTED, "0001", 20)
    journal.write(What.RECORDED, "0001", 20)
    file = tmp_path / "w1.journal"
    file.write_text(file.read_text() + '["granted", "00')
    assert [(entry.what, entry.job, entry.token) for entry in read_journals(tmp_path)["w1"]] == [
        (What.GRANTED, "0001", 20),
        (What.RECORDED, "0001", 20),
    ]
