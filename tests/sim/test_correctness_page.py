"""docs/correctness.md runs as written, and names what there is."""

import re
from pathlib import Path

import pytest

from zk.build import COMPILED
from zk.cli.main import main
from zk.sim import load_plants

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "correctness.md").read_text()


def test_the_scenario_runs_as_written() -> None:
    [scenario] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(scenario, {})


def test_what_the_page_names_is_there() -> None:
    folders = (ROOT, ROOT / "zk" / "sim", ROOT / "tests" / "sim" / "plants")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/[a-z_]+))`", PAGE))
    assert len(named) > 20
    assert {name for name in named if not any((folder / name).exists() for folder in folders)} == set()


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
def test_the_plant_that_it_shows_is_found_by_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    [plant] = re.findall(r"--plant ([a-z-]+)", PAGE)
    assert plant in load_plants(ROOT / "tests" / "sim" / "plants")
    assert main(["sim", "--plant", plant, "--jobs", "1"]) == 1
    assert "commit truth" in capsys.readouterr().out


def test_the_planted_bugs_and_stories_are_as_many_as_it_says() -> None:
    plants = load_plants(ROOT / "tests" / "sim" / "plants")
    counts = [int(count) for count in re.findall(r"^\| .* `[a-z_]+\.py` \| (\d+) \|$", PAGE, re.MULTILINE)]
    assert re.findall(r"So (\d+) known defects", PAGE) == [str(len(plants))]
    assert sum(counts) == len(plants)
    stories = {story for plant in plants.values() for story in plant.stories}
    assert re.findall(r"and others too: (\d+) in all", PAGE) == [str(len(stories))]
