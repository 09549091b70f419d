"""The stories of planted bugs: each ends well on the production code, and shows its bugs up.

They stand beside the plants, in plants/stories_*.py.
"""

from pathlib import Path

import pytest

from zk.build import COMPILED
from zk.sim import Plant, Violation, load_plants
from zk.sim.plant import Story

PLANTS = load_plants(Path(__file__).parent / "plants")
STORIES = list(dict.fromkeys(story for plant in PLANTS.values() for story in plant.stories))


def test_each_planted_bug_that_seeds_rarely_find_has_its_story() -> None:
    assert [plant.name for plant in PLANTS.values() if plant.deep and not plant.stories] == []


@pytest.mark.parametrize("story", STORIES)
def test_a_story_ends_well(story: Story) -> None:
    story()


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
@pytest.mark.parametrize(
    ("plant", "story"),
    [pytest.param(plant, story, id=plant.name) for plant in PLANTS.values() for story in plant.stories],
)
def test_the_story_shows_the_planted_bug_up(plant: Plant, story: Story) -> None:
    with plant.plant(), pytest.raises(AssertionError) as caught:
        story()
    if isinstance(caught.value, Violation):  # else it is the story's own claim that does not hold
        assert caught.value.invariant in plant.invariants
