"""What every artifact store promises."""

from __future__ import annotations

import dataclasses
import hashlib
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ml.artifacts import open_artifacts
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import ArtifactError, InvalidInputError, InvalidNameError, NotFoundError

BAD_NAMES = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a\\b",
    "C:x",
    "file:/x",
    "//h/x",
    ".",
    "..",
    "a/",
    "x.",
    "a\x00",
    "a//b",
]


def sha(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_bytes_come_back_with_size_and_digest(artifacts):
    info = artifacts.put("a/b.bin", b"content")
    assert info == ArtifactInfo("a/b.bin", is_folder=False, size=7, digest=sha(b"content"))
    assert artifacts.read("a/b.bin") == b"content"
    assert artifacts.list("a") in ([info], [dataclasses.replace(info, digest=None)])


@pytest.mark.parametrize("source", ["path", "bytes", "stream"])
def test_every_kind_of_source(artifacts, tmp_path, source):
    content = b"0123456789" * 300_000
    (tmp_path / "f").write_bytes(content)
    given_source = {"path": tmp_path / "f", "bytes": content, "stream": io.BytesIO(content)}[source]
    assert artifacts.put("f", given_source).digest == sha(content)
    assert artifacts.read("f") == content


def test_a_write_replaces(artifacts):
    artifacts.put("f", b"old")
    artifacts.put("f", b"new and longer")
    assert artifacts.read("f") == b"new and longer"
    assert [info.size for info in artifacts.list()] == [14]


def test_a_store_is_found_again_by_its_uri(artifacts):
    artifacts.put("f", b"x")
    assert open_artifacts(artifacts.uri).read("f") == b"x"


def test_lists_one_level_sorted(artifacts):
    for name in ("b.txt", "a/x", "a/y/z", "c"):
        artifacts.put(name, b"1")
    assert [(i.name, i.is_folder) for i in artifacts.list()] == [("a", True), ("b.txt", False), ("c", False)]
    assert [i.name for i in artifacts.list("a")] == ["a/x", "a/y"]
    assert artifacts.list("nothing") == []
    assert artifacts.list("c") == []


def test_an_empty_store_lists_nothing(artifacts):
    assert artifacts.list() == []


def test_a_folder_goes_up_and_comes_down(artifacts, tmp_path):
    tree = {"MLmodel": b"m", "code/x.py": b"x", "empty": b""}
    for name, content in tree.items():
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(content)
    infos = artifacts.put_folder(tmp_path / "up", "model")
    assert {i.name: i.digest for i in infos} == {f"model/{n}": sha(c) for n, c in tree.items()}
    for name, prefix in (("model", ""), ("", "model/")):
        target = artifacts.download(name, tmp_path / f"down-{bool(name)}")
        found = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}
        assert found == {prefix + n: c for n, c in tree.items()}


def test_a_file_is_downloaded_over_an_older_one(artifacts, tmp_path):
    artifacts.put("f", b"new")
    (tmp_path / "t").write_bytes(b"old")
    assert artifacts.download("f", tmp_path / "t").read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.iterdir() if "partial" in p.name) == []


def test_a_folder_is_downloaded_into_a_filled_one(artifacts, tmp_path):
    artifacts.put("d/a", b"new")
    (tmp_path / "t").mkdir()
    (tmp_path / "t/other").write_bytes(b"kept")
    artifacts.download("d", tmp_path / "t")
    assert {p.name: p.read_bytes() for p in (tmp_path / "t").iterdir()} == {"a": b"new", "other": b"kept"}


def test_what_is_not_there_is_named(artifacts, tmp_path):
    with pytest.raises(NotFoundError, match="missing"):
        artifacts.read("missing")
    with pytest.raises(NotFoundError, match="missing"):
        artifacts.download("missing", tmp_path / "t")
    with pytest.raises(NotFoundError, match="nowhere"):
        artifacts.put("f", tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="nowhere"):
        artifacts.put_folder(tmp_path / "nowhere")
    assert not (tmp_path / "t").exists()
    assert artifacts.list() == []


def test_delete_is_idempotent_and_takes_all_below(artifacts):
    for name in ("d/a", "d/e/b", "d2"):
        artifacts.put(name, b"1")
    artifacts.delete("d")
    artifacts.delete("d")
    artifacts.delete("never")
    assert [i.name for i in artifacts.list()] == ["d2"]
    artifacts.put("d", b"now a file")
    assert artifacts.read("d") == b"now a file"
    artifacts.delete("d")
    artifacts.put("d/a", b"a folder again")
    assert artifacts.read("d/a") == b"a folder again"


def test_a_name_is_a_file_or_a_folder(artifacts):
    artifacts.put("d/a", b"1")
    artifacts.put("f", b"1")
    with pytest.raises(ArtifactError, match="both a file and a folder"):
        artifacts.put("d", b"2")
    with pytest.raises(ArtifactError, match="both a file and a folder"):
        artifacts.put("f/x", b"2")
    with pytest.raises(NotFoundError):
        artifacts.read("d")
    assert artifacts.read("d/a") == artifacts.read("f") == b"1"


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_method_takes_a_name_that_leaves_the_root(artifacts, tmp_path, name):
    artifacts.put("keep", b"1")
    (tmp_path / "up").mkdir()
    (tmp_path / "up/f").write_bytes(b"1")
    for call in (
        lambda: artifacts.put(name, b"x"),
        lambda: artifacts.put_folder(tmp_path / "up", name),
        lambda: artifacts.read(name),
        lambda: artifacts.download(name, tmp_path / "t"),
        lambda: artifacts.list(name),
        lambda: artifacts.delete(name),
    ):
        with pytest.raises(InvalidNameError):
            call()
    assert [i.name for i in artifacts.list()] == ["keep"]


@pytest.mark.parametrize("name", ["", ".", "./", "/"])
def test_the_root_is_never_deleted(artifacts, name):
    artifacts.put("keep", b"1")
    with pytest.raises(InvalidNameError):
        artifacts.delete(name)
    assert artifacts.read("keep") == b"1"


@pytest.mark.parametrize("name", ["model#1", "a?b", "%2e%2e/x", "%252e", "é", "a;b", "..a", "\uff0e\uff0e/x"])
def test_odd_names_are_just_names(artifacts, name):
    artifacts.put(name, b"odd")
    assert artifacts.read(name) == b"odd"
    assert artifacts.list()[0].name == name.split("/")[0]


class _Broken(io.RawIOBase):
    """A source that fails in the middle, like a cut upload."""

    def __init__(self):
        self._calls = 0

    def read(self, _size=-1):
        self._calls += 1
        if self._calls > 1:
            raise ConnectionResetError(104, "Connection reset by peer")
        return b"half"


def test_a_file_is_written_in_pieces_and_seen_at_the_commit(artifacts):
    artifacts.put("f", b"old")
    pieces = [b"one", b"", b"x" * 3_000_000, b"end"]
    with artifacts.writer("f") as writer:
        for piece in pieces:
            writer.write(piece)
        assert artifacts.read("f") == b"old"
        info = writer.commit()
    whole = b"".join(pieces)
    assert info == ArtifactInfo("f", is_folder=False, size=len(whole), digest=sha(whole))
    assert artifacts.read("f") == whole


@pytest.mark.parametrize("size", [3, 20_000_000])
def test_an_aborted_write_leaves_what_was_there(artifacts, size):
    artifacts.put("f", b"old")
    for name in ("f", "g/new"):
        with artifacts.writer(name) as writer:
            writer.write(bytes(size))
        writer.abort()
    assert artifacts.read("f") == b"old"
    assert [i.name for i in artifacts.list()] == ["f"]


def test_a_write_that_is_not_what_was_announced_is_refused(artifacts):
    artifacts.put("f", b"old")
    with artifacts.writer("f") as writer:
        writer.write(b"new")
        with pytest.raises(InvalidInputError, match="announced"):
            writer.commit(sha(b"other"))
    assert artifacts.read("f") == b"old"
    with artifacts.writer("f") as writer:
        writer.write(b"new")
        writer.commit(sha(b"new"))
    assert artifacts.read("f") == b"new"


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (2 << 20) + 7])
def test_a_file_is_read_in_pieces_and_parts(artifacts, size):
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    artifacts.put("d/f", content)
    with artifacts.reader("d/f") as reader:
        assert (reader.info.name, reader.info.size) == ("d/f", size)
        assert reader.info.digest == sha(content)
        pieces = list(reader.pieces())
        assert b"".join(pieces) == content
        assert max(map(len, pieces), default=0) <= 1 << 20
        for start, stop in ((0, size // 2), (size // 2, None), (size // 3, size // 2), (size, None)):
            assert b"".join(reader.pieces(start, stop)) == content[start:stop]


def test_a_reader_keeps_to_the_version_that_it_opened_or_says_so(artifacts):
    old = b"a" * 3_000_000
    artifacts.put("f", old)
    with artifacts.reader("f") as reader:
        pieces = reader.pieces()
        first = next(pieces)
        artifacts.put("f", b"b" * 3_000_000)
        try:
            rest = b"".join(pieces)
        except ArtifactError as error:
            rest, why = None, str(error)
    assert first + rest == old if rest is not None else "replaced" in why


@pytest.mark.parametrize("name", BAD_NAMES)
def test_nothing_is_opened_under_a_name_that_leaves_the_root(artifacts, name):
    for call in (artifacts.reader, artifacts.writer):
        with pytest.raises(InvalidNameError):
            call(name)


@pytest.mark.parametrize("name", [".prefect-ml", "a/.prefect-ml/f", ".PREFECT-ML/digests/f"])
def test_what_a_store_keeps_for_itself_cannot_be_reached(artifacts, name):
    for call in (artifacts.reader, artifacts.writer, artifacts.list, artifacts.delete):
        with pytest.raises(InvalidNameError, match="reserved"):
            call(name)


def test_a_cut_upload_leaves_what_was_there(artifacts):
    artifacts.put("f", b"old")
    for name in ("f", "new"):
        with pytest.raises(ArtifactError, match="Connection reset"):
            artifacts.put(name, _Broken())
    assert artifacts.read("f") == b"old"
    assert [i.name for i in artifacts.list()] == ["f"]


names = st.lists(st.text("ab.é#% ", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.tuples(names, st.binary(max_size=50)), max_size=6))
def test_the_last_write_of_each_name_is_read(root_uri, writes):
    store = open_artifacts(root_uri)
    for info in store.list():
        store.delete(info.name)
    expected = {}
    for name, content in writes:
        try:
            store.put(name, content)
        except (InvalidNameError, ArtifactError):
            continue
        expected[name] = content
    assert {name: store.read(name) for name in expected} == expected
