"""What the demo works on and where it stands in the tree.

/demo/jobs/0007             a file to hash; gone once it is done
/demo/workers/w2            ephemeral: worker w2 is there
/demo/leader                the workers' election; the winner hands out jobs
/demo/queues/w2/0007        the leader gave job 0007 to w2
/demo/locks/0007            the lock under which job 0007 is done
/demo/results/0007          what came of it: written once, in the transaction that removes the job
/demo/probe                 written without a pause, to see for how long writes stop
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from zk.model.record import record

ROOT = "/demo"
JOBS = f"{ROOT}/jobs"
WORKERS = f"{ROOT}/workers"
LEADER = f"{ROOT}/leader"
QUEUES = f"{ROOT}/queues"
LOCKS = f"{ROOT}/locks"
RESULTS = f"{ROOT}/results"
PROBE = f"{ROOT}/probe"


@record
class Job:
    """One file to hash. `name` is the job's name in the tree, `file` is where it is (see Source)."""

    name: str
    file: str


@record
class Result:
    """What a worker recorded, with the fencing token of the lock under which it did."""

    file: str
    sha256: str
    size: int
    worker: str
    token: int

    def encode(self) -> bytes:
        return json.dumps(
            {"file": self.file, "sha256": self.sha256, "size": self.size, "worker": self.worker, "token": self.token}
        ).encode()

    @staticmethod
    def decode(data: bytes) -> "Result":
        fields = json.loads(data)
        return Result(fields["file"], fields["sha256"], fields["size"], fields["worker"], fields["token"])


@record
class Source:
    """The directories whose files are the work. A file is known by its directory's name and its path below it."""

    directories: tuple[Path, ...]

    def jobs(self) -> tuple[Job, ...]:
        """A job for every regular file, in a fixed order; what tools leave behind is left out."""
        files = (
            f"{directory.name}/{path.relative_to(directory)}"
            for directory in self.directories
            for path in sorted(directory.rglob("*"))
            if path.is_file() and not path.is_symlink() and not _is_clutter(path.relative_to(directory))
        )
        return tuple(Job(f"{number:04}", file) for number, file in enumerate(files, start=1))

    def copy(self, jobs: Iterable[Job], place: Path) -> "Source":
        """The same files below `place`, where nobody edits them between the hashing and the verification."""
        copied = Source(tuple(place / directory.name for directory in self.directories))
        for job in jobs:
            copied.locate(job.file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.locate(job.file), copied.locate(job.file))
        return copied

    def locate(self, file: str) -> Path:
        """Where the file of a job is."""
        name, _, below = file.partition("/")
        return next(directory for directory in self.directories if directory.name == name) / below


def _is_clutter(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def sha256(path: Path) -> tuple[str, int]:
    """The file's hash and its size in bytes."""
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest(), len(data)


def assignments(
    jobs: Iterable[str], workers: Iterable[str], queues: Mapping[str, Sequence[str]], queue_length: int
) -> tuple[tuple[str, str | None, str], ...]:
    """Which jobs to hand out now, as (job, dead worker that had it or None, worker that gets it).

    Every living worker's queue is filled up to `queue_length`, the shortest first; what dead workers had goes first.
    """
    load = {worker: len(queues[worker]) for worker in workers if worker in queues}
    left_behind = [(job, worker) for worker in queues if worker not in load for job in queues[worker]]
    queued = {job for queue in queues.values() for job in queue}
    waiting = [*left_behind, *((job, None) for job in jobs if job not in queued)]
    found = []
    for job, origin in waiting:
        worker = min(load, key=lambda worker: (load[worker], worker), default=None)
        if worker is None or load[worker] >= queue_length:
            break
        load[worker] += 1
        found.append((job, origin, worker))
    return tuple(found)
