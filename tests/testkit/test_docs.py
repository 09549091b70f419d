"""The examples of docs/testing.md are tests that pass."""

import re
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)
DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"


def test_every_example_passes(pytester: pytest.Pytester) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == 3
    pytester.makepyfile(**{f"test_{number}": block for number, block in enumerate(blocks)})
    done = pytester.runpytest_subprocess("-q", "-W", "error", "-p", "no:cacheprovider")
    done.assert_outcomes(passed="".join(blocks).count("def test_"))
