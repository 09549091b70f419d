"""Programs of ZooKeeper's world, unmodified: its own shell, the C client's, and Curator. They say here what they say to
ZooKeeper."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zk.server.testing import start_ensemble, start_server
from zk.testing.zookeeper import start_zookeeper, zookeeper_missing

MISSING = zookeeper_missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"no ZooKeeper to compare with: {MISSING}")

TIMEOUT_S = 60.0
JARS = Path("/usr/share/java")
QUICK_JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp")
C_SHELL = Path("/usr/lib/zookeeper/bin/cli_mt")
CURATOR = Path(__file__).with_name("CuratorRecipes.java")
CURATOR_JARS = ("curator-client", "curator-framework", "curator-recipes", "zookeeper", "guava", "slf4j-nop")

Both = tuple[str, str]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    """Where ZooKeeper listens, and where this service does."""
    properties = {"zookeeper.extendedTypesEnabled": "true"}
    with (
        start_zookeeper(tmp_path, properties=properties, quick_start=True) as its,
        start_server(tmp_path / "ours") as ours,
    ):
        yield its.hosts, ours.hosts


SHELL_COMMANDS = """\
create /a hello
create -s /a/s- 1
create -e /a/e 2
create -c /container
create -t 100000 /ttl x
ls -R /
ls -s /a
ls -w /a
get -s -w /a
stat /a
set -s /a hi
set -v 1 /a again
set -v 7 /a never
addauth digest ann:secret
create /guarded g auth::cdrwa
getAcl -s /guarded
setAcl -R /a world:anyone:cdrwa
getAcl /a
addWatch -m PERSISTENT /a
addWatch /container
set /a more
create /container/x y
removewatches /a
getEphemerals
getEphemerals /a
getAllChildrenNumber /
config
sync /a
setquota -n 3 /a
setquota -B 100 /a
listquota /a
delquota -n /a
delquota /a
reconfig -add server.9=localhost:1:2;3
delete /ttl
delete -v 9 /a
delete /a
deleteall /a
ls /
get /none
stat /none
create /none/path x
create x y
create /a/../b x
quit
"""


def shell(hosts: str) -> tuple[list[str], list[str]]:
    """What zkCli.sh says (events come when they come, so in no order), and what it complains of."""
    jars = f"{JARS}/zookeeper.jar:{JARS}/slf4j-nop.jar"
    ran = subprocess.run(
        [*QUICK_JAVA, jars, "org.apache.zookeeper.ZooKeeperMain", "-server", hosts],
        input=SHELL_COMMANDS,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    said = re.sub(r"0x[0-9a-f]+|(?<=time = ).*", "…", ran.stdout.replace(hosts, "HOSTS"))
    return sorted(said.splitlines()), ran.stderr.splitlines()


def test_zookeepers_shell_says_the_same(both: Both) -> None:
    (said, complaints), ours = map(shell, both)
    assert ours == (said, complaints)
    assert "[/a/e]" in said
    assert "KeeperErrorCode = Reconfig is disabled" in complaints


C_COMMANDS = (
    "create /a",
    "create +e /a/e",
    "create +s /a/s",
    "create +es /a/es",
    "create +c /container",
    "set /a hello",
    "get /a",
    "ls /a",
    "wexists /a",
    "getacl /a",
    "sync /a",
    "delete /container",
    "delete /none",
)


def c_shell(hosts: str) -> list[str]:
    """The words that the C client's shell says; without times."""
    said: list[str] = []
    with subprocess.Popen(
        ["stdbuf", "-oL", C_SHELL, hosts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        end = threading.Timer(TIMEOUT_S, program.kill)  # whoever waits for a line then hears of the end
        end.start()
        try:
            program.stdin.write("".join(f"{command}\n" for command in C_COMMANDS))
            program.stdin.flush()
            for line in program.stdout:
                said.append(line)
                if line.startswith("/none: rc ="):  # answers come in the order of the commands
                    break
            program.stdin.write("quit\n")
            program.stdin.close()
            said += program.stdout
        finally:
            end.cancel()
            program.kill()
    shown = "".join(line for line in said if ":ZOO_" not in line).replace(hosts, "HOSTS")
    shown = re.sub(r"time = \d+ msec|time ?= ?\w+ \w+ +\d+ [\d:]+ \d+|(?<=zxid=)\w+|(?<=id: )\w+", "", shown)
    return sorted(shown.split())  # its threads write at the same time, so not even lines are whole


@pytest.mark.skipif(not C_SHELL.exists(), reason=f"{C_SHELL} is not there: Debian's package zookeeper-bin has it")
def test_the_c_clients_shell_says_the_same(both: Both) -> None:
    theirs, ours = map(c_shell, both)
    assert ours == theirs
    assert "[/container]:" in ours


NO_CURATOR = [jar for jar in CURATOR_JARS if not (JARS / f"{jar}.jar").exists()]


@pytest.mark.skipif(bool(NO_CURATOR), reason=f"no {NO_CURATOR} in {JARS}: libcurator-recipes-java has them")
@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no java compiler")
def test_curators_recipes_go_on_when_the_leader_is_killed(tmp_path: Path) -> None:
    class_path = ":".join(f"{JARS}/{jar}.jar" for jar in CURATOR_JARS)
    with start_ensemble(tmp_path) as ensemble:
        command = [*QUICK_JAVA, class_path, str(CURATOR), ensemble.hosts]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            try:
                first = program.stdout.readline()
                if first == "READY\n":
                    ensemble.leader().kill()
                said = first + program.communicate("\n", timeout=TIMEOUT_S)[0]
            finally:
                program.kill()
        assert said == "READY\nDONE\n"
