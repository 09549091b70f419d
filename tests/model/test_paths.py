"""What is a path, and how paths relate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zk.model import paths
from zk.model.errors import BadArgumentsError

COMPONENTS = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="/"), min_size=1, max_size=5
).filter(lambda name: name not in (".", "..") and not paths._FORBIDDEN.search(name))
PATHS = st.lists(COMPONENTS, max_size=4).map(lambda names: "/" + "/".join(names))


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a/b", "/a.b", "/.a", "/...", "/a b", "/ä/日本", "/a-_:@=+,", "/\U0001f600", "/\uffef"]
)
def test_a_path_is_accepted(path: str) -> None:
    paths.validate(path)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("", "must not be empty"),
        ("a", "did you mean '/a'"),
        ("/a/", "must not end with '/'"),
        ("//", "must not end with '/'"),
        ("/a//b", "empty component"),
        ("/.", "relative component '.'"),
        ("/a/../b", "relative component '..'"),
        ("/a\0", "position 2"),
        ("/\x01", "not allowed"),
        ("/\x1f", "not allowed"),
        ("/\x7f", "not allowed"),
        ("/\x9f", "not allowed"),
        ("/\ud800", "not allowed"),
        ("/\uf8ff", "not allowed"),
        ("/\ufff0", "not allowed"),
        ("/\uffff", "not allowed"),
        ("/a\n", "not allowed"),
    ],
)
def test_what_is_no_path_is_refused_with_the_reason(path: str, hint: str) -> None:
    with pytest.raises(BadArgumentsError) as refused:
        paths.validate(path)
    assert refused.value.path == path
    assert hint in refused.value.hint


@pytest.mark.parametrize("prefix", ["/", "/a/", "/a", "/..", "/a/."])
def test_a_prefix_needs_only_be_a_path_with_its_suffix(prefix: str) -> None:
    paths.validate_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", "a", "//", "/a//", "/../"[:3] + "/x//"])
def test_a_prefix_that_can_not_become_a_path_is_refused(prefix: str) -> None:
    with pytest.raises(BadArgumentsError):
        paths.validate_prefix(prefix)


def test_the_root_is_its_own_parent() -> None:
    assert (paths.parent("/"), paths.basename("/")) == ("/", "")


@given(PATHS)
def test_a_path_is_its_parent_and_its_name(path: str) -> None:
    paths.validate(path)
    if path != "/":
        assert paths.join(paths.parent(path), paths.basename(path)) == path
        assert paths.is_inside(path, paths.parent(path))
        assert not paths.is_inside(paths.parent(path), path)
    assert paths.is_inside(path, path)
    assert paths.is_inside(path, "/")


def test_a_common_beginning_of_names_is_no_inside() -> None:
    assert not paths.is_inside("/ab", "/a")
    assert paths.is_inside("/a/b", "/a")


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [("a", "; did you mean '/a'?"), ("bad//path", ""), ("a/", ""), ("../a", ""), ("a\0", "")],
)
def test_only_what_is_a_path_is_suggested(path: str, suggestion: str) -> None:
    with pytest.raises(BadArgumentsError) as refused:
        paths.validate(path)
    assert refused.value.hint == f"a path must start with '/'{suggestion}"


def test_of_a_prefix_what_was_given_is_named_without_the_suffix() -> None:
    with pytest.raises(BadArgumentsError) as refused:
        paths.validate_prefix("jobs/")
    assert refused.value.path == "jobs/"
    assert refused.value.hint == "a path must start with '/'; did you mean '/jobs/'?"


def test_a_name_that_needs_no_closer_look_would_stand_one() -> None:
    plain = [name for name in map(chr, range(0x10000)) if paths.is_plain(name)]
    assert len(plain) > 40_000
    for name in plain:
        paths.validate(f"/{name}")
