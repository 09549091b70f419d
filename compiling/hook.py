"""The compiled build: what every write goes through as machine code, where that can be had.

The hot modules are copied, rewritten (rewriting.py), compiled by mypyc in one piece, and put into the wheel: each as
rewritten, and beside it the library that Python prefers. Where that can't be done, or fails, the wheel holds all
sources as they are, and the build says why in a line. ZK_COMPILE=0 does without, ZK_COMPILE=1 insists: the build fails
if nothing can be compiled. What the compiled build is held to stands in docs/performance.md.
"""

import os
import re
import shlex
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parents[1]))  # a build imports nothing else from here

from compiling.rewriting import rewritten

SWITCH = "ZK_COMPILE"
TRIED_WITH = (11, 13)
"""The first and the last Python 3 that the compiled build was tried with: others are compiled for only if asked to."""

REQUIRED = ("mypy[mypyc]>=2.4,<2.5", "setuptools>=65")
"""A later mypyc may count on a later librt at run time than what pyproject.toml asks for."""

FLOORS = (
    *("model", "tree", "broadcast", "broadcast/zab", "wire", "wire/native", "wire/zookeeper", "replica"),
    *("storage/segment", "storage/position", "storage/writer", "storage/store", "storage/errors"),
    *("storage/direct", "storage/files", "storage/names"),
    *("server/runtime", "server/clients", "server/connection", "server/stream", "server/listener", "server/latencies"),
    *("server/poller", "server/peers", "server/logthread", "server/wakeup"),
)
"""Folders and modules of zk that are compiled."""

LEFT_OUT = frozenset(
    {
        *("model/data", "model/errors"),  # they derive from bytes, and from two exceptions: mypyc can't
        "model/record",  # it declares records for those who are not compiled
        *("wire/sasl", "wire/zookeeper/words", "wire/zookeeper/client"),  # seldom used
    }
)
DERIVED_FROM = {
    "replica/replica": {"Replica"},  # by the server for tests
    "broadcast/zab/zab": {"Zab"},  # by the simulator
    "server/poller": {"Source"},  # by tests
    "tree/tree": {"Tree"},  # by a planted bug
    "wire/zookeeper/jute": {"Reader"},  # by the import of ZooKeeper's files
}
"""Classes that others than compiled ones derive from."""

LINKED_DIRECTLY = ["-fvisibility=hidden", "-fno-plt"] if os.name == "posix" else []
"""Options for the C compiler. What the library defines, it alone calls, and Python's functions it calls without a stub
between: 3 % fewer instructions, 5 % fewer cycles."""

_UNTRACKED = re.compile(
    r"^\{\n    CPy_TRASHCAN_BEGIN\(self, \w+\)\n(.*?)    CPy_TRASHCAN_END\(self\)\n", re.MULTILINE | re.DOTALL
)
"""How mypyc frees what the garbage collector does not know of. Where fifty objects are being freed one within the
other, it would be put aside for later (the trashcan), in a list that goes through what the collector keeps in front of
its objects. It keeps nothing in front of these, so the memory of a neighbour would be written to."""


class CompiledBuild(BuildHookInterface[BuilderConfig]):
    """What hatchling calls; it finds the class by its base."""

    _work: TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        return list(REQUIRED) if _insisted() or (_wanted() and not unfit()) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not _wanted() or (version == "editable" and not _insisted()):
            return  # an editable install runs the sources as they are
        try:
            files = self._compiled(version)
        except NotCompiledError as lack:
            if _insisted():
                self.app.abort(
                    f"{SWITCH}=1 asks for a compiled build, and {lack}. Without it, the build is pure Python"
                )
            self.app.display_warning(f"This build is pure Python, which is slower: {lack}")
        else:
            build_data["force_include"].update(files)
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._work is not None:
            self._work.cleanup()

    def _compiled(self, version: str) -> dict[str, str]:
        """The files to put into the wheel, and where to. Raises NotCompiledError."""
        if version == "editable":
            raise NotCompiledError("that is for wheels: an editable install runs the sources as they are")
        if lack := lacking() if _insisted() else unfit() or lacking():
            raise NotCompiledError(lack)
        self._work = TemporaryDirectory(prefix="zk-compiled-")
        work = Path(self._work.name)
        try:
            return {str(file): str(file.relative_to(work / "wheel")) for file in compiled(Path(self.root), work)}
        except (Exception, SystemExit) as error:  # the latter is how mypyc refuses
            raise NotCompiledError(f"the compilation failed, as said above ({error})") from error


class NotCompiledError(Exception):
    """Why there is no compiled build."""


def hot_modules(root: Path) -> list[str]:
    """The modules to compile, as paths below zk without their endings."""
    package = root / "zk"
    files = [file for floor in FLOORS for file in [package / f"{floor}.py", *sorted((package / floor).glob("*.py"))]]
    modules = [file.relative_to(package).with_suffix("").as_posix() for file in files if file.is_file()]
    return [module for module in modules if module not in LEFT_OUT and Path(module).name not in ("__init__", "testing")]


def compiled(root: Path, work: Path) -> list[Path]:
    """Rewrite and compile the hot modules of the sources at `root`; the files for the wheel, in `work`/wheel."""
    modules = hot_modules(root)
    wheel = work / "wheel"
    shutil.copytree(root / "zk", work / "zk", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "compiling/described.py", work / "zk/described.py")
    for module in modules:
        file = work / f"zk/{module}.py"
        file.write_text(rewritten(file.read_text(), DERIVED_FROM.get(module, ())))
    with chdir(work):  # so that tracebacks name the files as they are found in the wheel
        compile_together([f"zk/{module}.py" for module in modules], wheel)
    for source in [*(f"zk/{module}.py" for module in modules), "zk/described.py"]:
        shutil.copy(work / source, wheel / source)
    return [file for file in wheel.rglob("*") if file.is_file()]


def compile_together(sources: list[str], target: Path) -> None:
    """Compile the files, which are named from the current folder on, as one library; it goes to `target`."""
    from mypyc.build import mypycify
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    class SideBySide(build_ext):  # type: ignore[misc]  # setuptools has no types
        """It would compile the C files of one extension one after the other, and nearly all are of one."""

        def build_extensions(self) -> None:
            def compiled(extension: Extension, source: str) -> None:
                options = {"include_dirs": extension.include_dirs, "extra_postargs": extension.extra_compile_args}
                extension.extra_objects += self.compiler.compile([source], output_dir=self.build_temp, **options)

            files = [(extension, source) for extension in self.extensions for source in extension.sources]
            files.sort(key=lambda file: os.path.getsize(file[1]), reverse=True)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(compiled, *zip(*files, strict=True)))
            for extension in self.extensions:
                extension.sources = []
            super().build_extensions()  # links what is compiled

    # What the sources import is not installed while they are built; their types were checked where they were written.
    options = ["--config-file=", "--ignore-missing-imports", "--explicit-package-bases"]
    extensions = mypycify([*options, *sources], opt_level="2", debug_level="0", multi_file=True, group_name="zk")
    for extension in extensions:
        extension.extra_compile_args += LINKED_DIRECTLY
        for source in map(Path, extension.sources):
            source.write_text(_UNTRACKED.sub(r"{\n\1", source.read_text()))
    command = SideBySide(Distribution({"name": "zk", "ext_modules": extensions}))
    command.build_lib = str(target)
    command.build_temp = "objects"
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()


def _wanted() -> bool:
    return os.environ.get(SWITCH, "") != "0"


def _insisted() -> bool:
    return os.environ.get(SWITCH, "") not in ("", "0")


def unfit() -> str:
    """Why nothing is compiled on this machine unless it is insisted on; '' if it is."""
    first, last = TRIED_WITH
    if sys.implementation.name != "cpython" or not (3, first) <= sys.version_info[:2] <= (3, last):
        return f"compiling was tried with CPython 3.{first} to 3.{last} ({SWITCH}=1 tries it anyway)"
    return _without_compiler()


def lacking() -> str:
    """Why nothing can be compiled here; '' if it can."""
    missing = [name for name in ("mypyc", "setuptools") if find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed: pip install {' '.join(map(shlex.quote, REQUIRED))}"
    return _without_compiler()


def _without_compiler() -> str:
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(shlex.split(command)[0]) is None:
        return f"there is no C compiler: {command!r} is not found (the variable CC may name another)"
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return f"Python's headers are missing: there is no {headers / 'Python.h'} (Debian has it in python3-dev)"
    return ""
