"""The digest of a folder: the same for the same names and bytes, different for any other."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ml.errors import InvalidNameError, NotFoundError
from prefect_ml.models.digest import folder_digest


def write(folder, tree):
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_definition(tmp_path):
    write(tmp_path, {"b": b"2", "a/x": b"1"})
    lines = b"".join(
        hashlib.sha256(c).hexdigest().encode() + b"  " + n + b"\n" for n, c in ((b"a/x", b"1"), (b"b", b"2"))
    )
    assert folder_digest(tmp_path) == f"sha256:{hashlib.sha256(lines).hexdigest()}"


def test_times_modes_and_empty_folders_do_not_count(tmp_path):
    one = write(tmp_path / "1", {"a": b"x", "b/c": b"y"})
    two = write(tmp_path / "2", {"b/c": b"y", "a": b"x"})
    os.utime(two / "a", (1, 1))
    (two / "a").chmod(0o400)
    (two / "empty").mkdir()
    assert folder_digest(one) == folder_digest(two)


trees = st.dictionaries(
    st.text("abé.", min_size=1, max_size=3).filter(lambda n: n.strip(".")), st.binary(max_size=4), max_size=4
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(trees, trees)
def test_equal_for_equal_trees_alone(tmp_path_factory, one, two):
    folders = [write(tmp_path_factory.mktemp("tree"), tree) for tree in (one, two)]
    assert (folder_digest(folders[0]) == folder_digest(folders[1])) == (one == two)


def test_bytes_cannot_be_shifted_between_name_and_content(tmp_path):
    digests = {
        folder_digest(write(tmp_path / str(i), t))
        for i, t in enumerate([{"ab": b"c"}, {"a": b"bc"}, {"a": b"b", "c": b""}])
    }
    assert len(digests) == 3


@pytest.mark.parametrize("kind", ["file link", "folder link", "dangling link", "pipe", "line break"])
def test_what_could_change_unseen_is_refused(tmp_path, kind):
    folder = write(tmp_path / "m", {"a": b"1"})
    if kind == "pipe":
        os.mkfifo(folder / "p")
    elif kind == "line break":
        (folder / "a\nb").write_bytes(b"")
    else:
        (folder / "l").symlink_to(
            {"file link": folder / "a", "folder link": tmp_path, "dangling link": folder / "no"}[kind]
        )
    with pytest.raises(InvalidNameError):
        folder_digest(folder)


def test_no_folder(tmp_path):
    with pytest.raises(NotFoundError, match="no model folder"):
        folder_digest(tmp_path / "none")
