"""docs/semantics.md against the code: its tables of kinds, permissions, figures, events, error codes and limits."""

import re
from dataclasses import fields
from pathlib import Path

from zk.model import paths
from zk.model.acl import Perms
from zk.model.errors import ERRORS, Code
from zk.model.events import EventType
from zk.model.limits import (
    DEFAULT_LIMITS,
    IDENTITIES_PER_SESSION_MAX,
    RESTORED_EPOCH_MAX,
    STORED_ANSWERS_PER_SESSION_MAX,
)
from zk.model.requests import CreateMode
from zk.model.stat import Stat
from zk.tree.tree import Tree

PAGE = (Path(__file__).parents[2] / "docs" / "semantics.md").read_text(encoding="utf-8")


def table(title: str, heading: str) -> list[list[str]]:
    """The rows of the table in section `title` whose first column is called `heading`."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = section.split(f"\n| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_lists_every_kind_of_node() -> None:
    listed = [(int(mode), name, suffix == "yes") for mode, name, suffix, _ in table("Kinds of nodes", "mode")]
    assert listed == [(int(mode), mode.name.lower().replace("_", " "), mode.sequential) for mode in CreateMode]


def test_the_page_says_which_kinds_go_with_their_session_and_which_have_a_ttl() -> None:
    goes = {int(mode): end for mode, _, _, end in table("Kinds of nodes", "mode")}
    assert {mode for mode, end in goes.items() if "session" in end} == {m for m in CreateMode if m.ephemeral}
    assert {mode for mode, end in goes.items() if "TTL" in end} == {m for m in CreateMode if m.has_ttl}


def test_the_page_names_the_first_nodes() -> None:
    sentence = PAGE.split("Every tree begins with ")[1].split(". These")[0]
    assert set(re.findall(r"`([^`]+)`", sentence)) == set(Tree().znodes) == paths.RESERVED


def test_the_page_lists_the_figures_of_a_stat_in_order() -> None:
    assert tuple(row[0] for row in table("Data model", "figure")) == tuple(field.name for field in fields(Stat))


def test_the_page_says_up_to_which_epoch_zxids_can_be_taken_over() -> None:
    assert f"Epochs up to {RESTORED_EPOCH_MAX} can be taken over." in PAGE


def test_the_page_lists_every_type_of_event() -> None:
    listed = {int(number): name for number, name, _ in table("Watches", "event")}
    assert listed == {int(event): event.name for event in EventType}


def test_the_page_lists_every_permission() -> None:
    listed = {name: int(bit) for name, bit, _ in table("ACLs and identities", "permission")}
    assert listed == {perm.name: int(perm) for perm in Perms if perm is not Perms.ALL}


def test_the_page_lists_every_error_code() -> None:
    listed = {int(code): name for code, name, _, _ in table("Error codes", "code")}
    assert listed == {int(code): code.name for code in Code}


def test_every_error_that_a_server_sends_has_a_class_and_a_meaning() -> None:
    sent = [(int(code), meaning) for code, _, origin, meaning in table("Error codes", "code") if origin == "server"]
    defect = Code.SYSTEM_ERROR  # the root of all refusals
    assert {code for code, _ in sent} == {0, defect, *ERRORS} - {Code.UNKNOWN_SESSION}
    assert all(meaning for _, meaning in sent)


def test_the_page_lists_every_limit_with_its_default() -> None:
    listed = [(name, int(default)) for name, default, _, _ in table("Limits", "limit")]
    assert listed == [(field.name, getattr(DEFAULT_LIMITS, field.name)) for field in fields(DEFAULT_LIMITS)]


def test_the_page_says_the_limits_that_nobody_can_set() -> None:
    assert f"at most {IDENTITIES_PER_SESSION_MAX} identities" in PAGE
    assert f"{STORED_ANSWERS_PER_SESSION_MAX:,} answers are kept" in PAGE


def test_the_contents_name_every_section() -> None:
    anchors = [title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)]
    assert re.findall(r"\]\(#([a-z-]+)\)", PAGE.split("\n## ")[0]) == anchors
