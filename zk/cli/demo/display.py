"""What the demo shows: on a terminal a live picture with the news above it, otherwise plain lines."""

import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from zk.cli.demo.verify import Finding

COLOURS = {"leads": "bold green", "follows": "cyan", "works": "cyan", "killed": "bold red", "starts": "yellow"}


@dataclass
class Scene:
    """How things stand. The controller changes it, the display shows it."""

    total: int
    done: int = 0
    servers: dict[str, str] = field(default_factory=dict)  # by name: 'leads', 'follows', 'killed', 'starts'
    workers: dict[str, str] = field(default_factory=dict)  # by name: 'leads', 'works', 'killed'
    recorded: dict[str, int] = field(default_factory=dict)  # results, by worker


class Display(ABC):
    """Shows a scene, and tells what happens."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._began_s = time.monotonic()

    def elapsed(self) -> str:
        return f"{time.monotonic() - self._began_s:5.1f} s"

    @abstractmethod
    def say(self, text: str) -> None:
        """Something happened."""

    @abstractmethod
    def changed(self) -> None:
        """The scene has changed."""

    @abstractmethod
    def finding(self, finding: Finding) -> None:
        """A line of the verification."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class PlainDisplay(Display):
    """Lines, one every tenth of the way."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._tenths = 0

    def say(self, text: str) -> None:
        print(f"[{self.elapsed()}] {text}", flush=True)

    def changed(self) -> None:
        tenths = self.scene.done * 10 // self.scene.total
        if tenths > self._tenths:
            self._tenths = tenths
            self.say(f"{self.scene.done} of {self.scene.total} files")

    def finding(self, finding: Finding) -> None:
        print(f"{'ok    ' if finding.holds else 'FAILED'} {finding.claim}: {finding.figures}", flush=True)


class LiveDisplay(Display):
    """Two rows of processes and a bar, redrawn ten times a second; what is said scrolls above."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._console = Console()
        self._live = Live(console=self._console, get_renderable=self._picture, refresh_per_second=10, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(Text.assemble((f"{self.elapsed()}  ", "dim"), text))

    def changed(self) -> None:
        """Nothing to do: the picture is drawn from the scene."""

    def finding(self, finding: Finding) -> None:
        mark = ("✓ ", "bold green") if finding.holds else ("✗ ", "bold red")
        self._console.print(Text.assemble(mark, (finding.claim, "bold"), f": {finding.figures}"))

    def _picture(self) -> Group:
        scene = self.scene
        table = Table.grid(padding=(0, 3))
        table.add_row("servers", *(_process(name, state) for name, state in scene.servers.items()))
        table.add_row(
            "workers",
            *(_process(name, state, f" {scene.recorded.get(name, 0)}") for name, state in scene.workers.items()),
        )
        bar = Table.grid(padding=(0, 3))
        bar.add_row("files", ProgressBar(scene.total, scene.done, width=50), f"{scene.done} of {scene.total}")
        return Group(table, bar)


def _process(name: str, state: str, suffix: str = "") -> Text:
    return Text.assemble((name, "bold"), " ", (state, COLOURS.get(state, "")), suffix)


def display_for(scene: Scene) -> Display:
    """Live on a terminal, plain otherwise."""
    return LiveDisplay(scene) if sys.stdout.isatty() else PlainDisplay(scene)
