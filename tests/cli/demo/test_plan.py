"""What the demo's leader hands out, and which files are jobs."""

from pathlib import Path

from zk.cli.demo.plan import Job, Result, Source, assignments


def test_jobs_go_to_the_shortest_queue_until_all_are_full() -> None:
    found = assignments(["1", "2", "3", "4"], ["a", "b"], {"a": ["0"], "b": []}, queue_length=2)
    assert found == (("1", None, "b"), ("2", None, "a"), ("3", None, "b"))


def test_a_job_is_handed_out_once() -> None:
    assert assignments(["1", "2"], ["a", "b"], {"a": ["1"], "b": ["2"]}, queue_length=4) == ()


def test_what_a_dead_worker_left_behind_goes_first() -> None:
    found = assignments(["1", "2", "3"], ["a"], {"a": [], "dead": ["2", "3"]}, queue_length=2)
    assert found == (("2", "dead", "a"), ("3", "dead", "a"))


def test_without_workers_nothing_is_handed_out() -> None:
    assert assignments(["1"], [], {"dead": ["1"]}, queue_length=2) == ()


def test_a_worker_whose_queue_is_not_there_yet_gets_nothing() -> None:
    assert assignments(["1"], ["new"], {}, queue_length=2) == ()


def test_regular_files_are_jobs_and_clutter_is_not(tmp_path: Path) -> None:
    root = tmp_path / "src"
    for name in ("b.txt", "a/c.txt", ".git/config", "__pycache__/x.pyc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "link").symlink_to("b.txt")
    source = Source((root,))
    assert source.jobs() == (Job("0001", "src/a/c.txt"), Job("0002", "src/b.txt"))
    assert source.locate("src/a/c.txt").read_text() == "a/c.txt"
    copied = source.copy(source.jobs(), tmp_path / "copy")
    assert copied.jobs() == source.jobs()
    assert copied.locate("src/a/c.txt").read_text() == "a/c.txt"


def test_a_result_is_read_as_it_was_written() -> None:
    result = Result("zk/x.py", "00ff", 17, "w1", 0x1_0000_0003)
    assert Result.decode(result.encode()) == result
