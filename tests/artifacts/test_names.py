"""Names: what is refused, and that what is accepted stays below the root."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_ml.artifacts.names import resolve, split_name
from prefect_ml.errors import InvalidNameError

REFUSED = [
    "",
    ".",
    "..",
    "...",
    "./a",
    "a/.",
    "a/./b",
    "../a",
    "a/..",
    "a/../../b",
    "a/../b",
    "/etc/passwd",
    "//host/share",
    "a//b",
    "a/",
    "..\\a",
    "a\\b",
    "\\\\host\\share",
    "C:",
    "C:\\Windows",
    "C:/Windows",
    "c:relative",
    "file:/etc/passwd",
    "file:///etc/passwd",
    "http://host/a",
    "s3://bucket/key",
    "file:",
    "a\x00b",
    "a\nb",
    "a\x7f",
    "a.",
    "a ",
    "a./b",
    "a /b",
    "a/....",
    "....//",
    "....//....//etc",
    "\ud800",
    "x" * 256,
    "/".join(["x" * 100] * 11),
]

# Odd, but each is one plain file name; nothing in it is decoded or folded.
KEPT = [
    "a",
    "a/b/c.txt",
    "model#1",
    "a?b=c",
    "a;x",
    "%2e%2e",
    "%2e%2e/passwd",
    "%252e%252e%2fpasswd",
    "%00",
    "a%2fb",
    "\uff0e\uff0e",  # full-width dots
    "..\u2215etc",  # division slash
    "..\uff0fetc",  # full-width slash
    "..a",
    "a..b",
    ".hidden",
    "~/x",
    "$HOME",
    "-rf",
    "roc: train.png",
    "é",
    "e\u0301",
]


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_names_that_mean_another_place(tmp_path, name):
    with pytest.raises(InvalidNameError):
        resolve(tmp_path, name)


@pytest.mark.parametrize("name", KEPT)
def test_takes_every_other_name_literally(tmp_path, name):
    assert resolve(tmp_path, name) == tmp_path.resolve().joinpath(*name.split("/"))


def test_refuses_what_is_no_text(tmp_path):
    with pytest.raises(InvalidNameError):
        resolve(tmp_path, None)  # type: ignore[arg-type]


pieces = st.sampled_from(["..", ".", "a", "/", "\\", "%2e", "%2f", "\x00", ":", "#", "?", " ", "C", "\u2215", "~"])


@given(st.one_of(st.lists(pieces, max_size=8).map("".join), st.text(max_size=30)))
@example("a/../../x")
def test_whatever_is_accepted_lies_below_the_root(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp()
    try:
        path = resolve(root, name)
    except InvalidNameError:
        return
    real = os.path.realpath(path)
    assert os.path.commonpath([real, os.path.realpath(root)]) == os.path.realpath(root)
    assert real != os.path.realpath(root)
    assert path.relative_to(root.resolve()).as_posix() == name
    assert "/".join(split_name(name)) == name


@pytest.mark.parametrize("target", ["outside", "inside"])
def test_follows_no_link_below_the_root(tmp_path, target):
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside" if target == "outside" else root / "inside")
    for name in ("link", "link/file"):
        with pytest.raises(InvalidNameError, match="symbolic link"):
            resolve(root, name)


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    assert resolve(tmp_path / "root", "a") == (tmp_path / "disk").resolve() / "a"
