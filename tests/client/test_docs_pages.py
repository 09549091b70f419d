"""What docs/client.md and docs/recipes.md show runs as written, but for the ports.

It prints what stands behind each `print`. The python blocks of one section share their names, and a corner of the tree.
`zk` is an AsyncZooKeeper in blocks that await something outside of functions, and a ZooKeeper in the others.
"""

import ast
import inspect
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import CodeType

import anyio
import pytest
import trustme
from zkclient import AsyncZooKeeper, ZooKeeper

from zk.server.testing import ServerProcess

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("client.md", "recipes.md")
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SECONDS_MAX = 30


def sections(page: str) -> Iterator[tuple[str, list[str]]]:
    """The headings, each with its blocks of Python."""
    _, *parts = HEADING.split((DOCS / page).read_text())
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        yield heading, BLOCK.findall(text)


EXAMPLES = [
    pytest.param(blocks, id=f"{page}: {heading}") for page in PAGES for heading, blocks in sections(page) if blocks
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory in which examples find their files."""
    monkeypatch.chdir(tmp_path)
    trustme.CA().cert_pem.write_to_path("ca.pem")


@pytest.mark.anyio
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("blocks", EXAMPLES)
async def test_every_example_runs_and_prints_what_it_says(
    blocks: list[str], server: ServerProcess, corner: str
) -> None:
    with anyio.fail_after(SECONDS_MAX):
        await run_section(blocks, server, corner)


async def run_section(blocks: list[str], server: ServerProcess, corner: str) -> None:
    names: dict[str, object] = {"__name__": "example"}
    hosts = f"{server.address}{corner}"
    async with AsyncZooKeeper(hosts) as for_tasks:
        await for_tasks.ensure_path("/")
        with ZooKeeper(hosts) as for_threads:
            for block in blocks:
                source = re.sub(r"\b(127\.0\.0\.1|localhost):218\d\b", str(server.address), block)
                source = source.replace("port=2181", f"port={server.address.port}")
                code = compile(source, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
                output = io.StringIO()
                with redirect_stdout(output):
                    if code.co_flags & inspect.CO_COROUTINE:
                        names["zk"] = for_tasks
                        await eval(code, names)
                    else:
                        names["zk"] = for_threads
                        await anyio.to_thread.run_sync(run_block, code, names)
                assert output.getvalue().splitlines() == PRINTED.findall(source), block
                assert block.count("print(") == len(PRINTED.findall(block)), block


def run_block(code: CodeType, names: dict[str, object]) -> None:
    exec(code, names)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in LINK.findall((DOCS / page).read_text()):
        target, _, anchor = link.partition("#")
        headings = HEADING.findall((DOCS / (target or page)).read_text())
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, link


@pytest.mark.parametrize("page", PAGES)
def test_headings_and_lines_are_fit_to_be_read(page: str) -> None:
    text = (DOCS / page).read_text()
    assert [heading for heading, times in Counter(HEADING.findall(text)).items() if times > 1] == []
    assert [line for line in text.splitlines() if len(line) > 140 and not line.startswith("|")] == []


def test_no_method_of_the_client_is_left_out() -> None:
    client, recipes = ((DOCS / page).read_text() for page in PAGES)
    public = [name for name, _ in inspect.getmembers(ZooKeeper, callable) if not name.startswith("_")]
    assert [name for name in public if name[0].isupper() and f"zk.{name}(" not in recipes + client] == []
    assert [name for name in public if name[0].islower() and not re.search(rf"\b{name}\(|`{name}`", client)] == []
