"""The build of a wheel: compiled where it can be, else pure Python and a word on why."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from compiling.hook import lacking, unfit

pytest.importorskip("hatchling", reason="hatchling is not installed: it builds the wheels")

ROOT = Path(__file__).parents[2]
NO_COMPILER = "there is no C compiler: 'no-such-compiler' is not found"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A project with one of the modules that are to be compiled, and one that is not."""
    for part in ("pyproject.toml", "README.md", "LICENSE", "compiling", "zk/__init__.py"):
        copy = tmp_path / "sources" / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, copy)
    (tmp_path / "sources/client/zkclient").mkdir(parents=True)
    (tmp_path / "sources/zk/model").mkdir()
    (tmp_path / "sources/zk/model/__init__.py").touch()
    (tmp_path / "sources/zk/model/limits.py").write_text("def least() -> int:\n    return 7\n")
    return tmp_path / "sources"


def build(sources: Path, **environ: str) -> tuple[int, list[str], list[str]]:
    """The exit code, what was said of it, and the files of zk in the wheel behind the wheel's name."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(sources / "built")]
    inherited = {key: value for key, value in os.environ.items() if key != "ZK_COMPILE"}
    run = subprocess.run(
        command, cwd=sources, env={**inherited, **environ}, capture_output=True, text=True, check=False
    )
    said = [line for line in run.stderr.splitlines() if "pure Python" in line]
    found = []
    for wheel in (sources / "built").glob("*.whl"):
        found = [wheel.name, *sorted(name for name in ZipFile(wheel).namelist() if name.startswith("zk"))]
    return run.returncode, said, [name for name in found if "dist-info" not in name]


PURE = ["zkensemble-0.1.0-py3-none-any.whl", "zk/__init__.py", "zk/model/__init__.py", "zk/model/limits.py"]


@pytest.mark.skipif(bool(unfit() or lacking()), reason=unfit() or lacking())
def test_where_there_is_a_compiler_the_wheel_is_compiled(sources: Path) -> None:
    code, said, files = build(sources)
    assert (code, said) == (0, [])
    assert "none-any" not in files[0]
    assert {name.split(".")[0] for name in files[1:]} == {
        *("zk/__init__", "zk/described", "zk/model/__init__", "zk/model/limits", "zk__mypyc")
    }
    assert [name for name in files if name.startswith("zk/model/limits.") and name.endswith(".so")]


def test_where_there_is_none_it_is_pure_python_and_the_build_says_why(sources: Path) -> None:
    code, [said], files = build(sources, CC="no-such-compiler")
    assert (code, files) == (0, PURE)
    assert said.startswith(f"This build is pure Python, which is slower: {unfit() or NO_COMPILER}")


@pytest.mark.skipif(bool(unfit() or lacking()), reason=unfit() or lacking())
def test_a_compiler_that_fails_leaves_nothing_half_compiled(sources: Path) -> None:
    code, [said], files = build(sources, CC="false")
    assert (code, files) == (0, PURE)
    assert said.startswith("This build is pure Python, which is slower: the compilation failed, as said above (")


def test_without_the_headers_of_python_there_is_nothing_to_compile_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", sys.executable)  # there is one
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert lacking().startswith(f"Python's headers are missing: there is no {tmp_path}/Python.h")


def test_who_insists_gets_an_error_instead(sources: Path) -> None:
    code, [said], files = build(sources, CC="no-such-compiler", ZK_COMPILE="1")
    assert (code, files) == (1, [])
    assert said.startswith("ZK_COMPILE=1 asks for a compiled build, and ")


def test_who_wants_none_is_told_nothing(sources: Path) -> None:
    assert build(sources, CC="no-such-compiler", ZK_COMPILE="0") == (0, [], PURE)
