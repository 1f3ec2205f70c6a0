"""What is particular to artifacts in a folder: links, modes, corruption, crashes, concurrency, memory."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from prefect_ml.artifacts.digests import DigestNotes
from prefect_ml.artifacts.durable import open_to_read
from prefect_ml.artifacts.local import LocalArtifactStore
from prefect_ml.artifacts.open import open_artifacts
from prefect_ml.artifacts.verified import verified
from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidInputError, InvalidNameError, NotFoundError


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def store(root):
    return LocalArtifactStore(root)


def test_files_and_folders_are_the_owners_alone(store, root):
    old = os.umask(0)
    try:
        store.put("a/b", b"secret")
    finally:
        os.umask(old)
    modes = {p: p.stat().st_mode & 0o777 for p in [root, *root.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_links_are_neither_followed_nor_shown(store, root, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    store.put("keep", b"1")
    (root / "file-link").symlink_to(tmp_path / "secret")
    (root / "folder-link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root / "loop")
    for name in ("file-link", "folder-link", "folder-link/x", "loop", "loop/x"):
        for call in (
            lambda name=name: store.read(name),
            lambda name=name: store.put(name, b"overwritten"),
            lambda name=name: store.delete(name),
            lambda name=name: store.list(name),
            lambda name=name: store.download(name, tmp_path / "t"),
        ):
            with pytest.raises((InvalidNameError, ArtifactError)):
                call()
    assert [i.name for i in store.list()] == ["keep"]
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert list((tmp_path / "outside").iterdir()) == []
    copied = store.download("", tmp_path / "all")
    assert [p.name for p in copied.iterdir()] == ["keep"]


def test_opening_never_follows_a_link_or_waits_for_a_pipe(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"symbolic link|regular file"):
            open_to_read(tmp_path / name)


@pytest.mark.parametrize("kind", ["file out", "folder out", "folder in", "dangling", "pipe"])
def test_a_folder_with_a_link_out_of_it_is_refused_before_anything_is_written(store, tmp_path, kind):
    up = tmp_path / "up"
    (up / "sub").mkdir(parents=True)
    (up / "a").write_bytes(b"1")
    (tmp_path / "secret").write_bytes(b"secret")
    if kind == "pipe":
        os.mkfifo(up / "z")
    else:
        targets = {
            "file out": tmp_path / "secret",
            "folder out": tmp_path,
            "folder in": up / "sub",
            "dangling": up / "no",
        }
        (up / "z").symlink_to(targets[kind])
    with pytest.raises(InvalidNameError):
        store.put_folder(up, "m")
    assert store.list() == []


def test_a_link_to_a_file_of_the_same_folder_is_stored_as_its_bytes(store, tmp_path):
    up = tmp_path / "up"
    up.mkdir()
    (up / "a").write_bytes(b"1")
    (up / "b").symlink_to(up / "a")
    store.put_folder(up)
    assert store.read("b") == b"1"


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty"])
def test_a_changed_byte_is_found(store, root, tmp_path, damage):
    content = os.urandom(3000)
    store.put("d/f", content)
    changed = {
        "flip": content[:1500] + bytes([content[1500] ^ 1]) + content[1501:],
        "cut": content[:-1],
        "grow": content + b"x",
        "empty": b"",
    }[damage]
    (root / "d/f").write_bytes(changed)
    with pytest.raises(CorruptArtifactError, match="d/f"):
        store.read("d/f")
    for name in ("d/f", "d", ""):
        with pytest.raises(CorruptArtifactError, match="d/f"):
            store.download(name, tmp_path / "t")
        assert not (tmp_path / "t").exists()
    assert [p for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_the_hidden_tree_cannot_be_reached(store, root):
    store.put("f", b"1")
    hidden = next(p.name for p in root.iterdir() if p.name != "f")
    for name in (hidden, f"{hidden}/digests/f", hidden.upper()):
        with pytest.raises(InvalidNameError, match="reserved"):
            store.put(name, b"x")
        with pytest.raises(InvalidNameError, match="reserved"):
            store.delete(name)


def test_a_file_keeps_its_digest_seen_from_a_store_above_its_root(root):
    run = LocalArtifactStore(root / "1/run/artifacts")
    run.put("d/f", b"of the run")
    whole = LocalArtifactStore(root)
    name = "1/run/artifacts/d/f"
    assert whole.list("1/run/artifacts/d") == [dataclasses.replace(run.list("d")[0], name=name)]
    assert [i.name for i in whole.list("1/run/artifacts")] == ["1/run/artifacts/d"]
    whole.put(name, b"through the store above")
    assert run.read("d/f") == b"through the store above"
    (root / name).write_bytes(b"damaged")
    for store, known_as in ((run, "d/f"), (whole, name)):
        with pytest.raises(CorruptArtifactError):
            store.read(known_as)
    whole.delete("1/run")
    assert run.list() == []
    run.put("d/f", b"again")
    assert whole.read(name) == b"again"


def test_a_corrupt_file_is_handed_out_without_its_end(store, root):
    content = os.urandom((2 << 20) + 5)
    store.put("f", content)
    (root / "f").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with store.reader("f") as reader:
        pieces = reader.pieces()
        assert next(pieces) + next(pieces) == content[: 2 << 20]
        with pytest.raises(CorruptArtifactError):
            next(pieces)


def test_a_file_that_was_found_right_is_hashed_again_once_it_has_changed(store, root, monkeypatch):
    content = os.urandom((2 << 20) + 5)
    store.put("f", content)
    hashed = []
    monkeypatch.setattr("prefect_ml.artifacts.local.verified", lambda *given: hashed.append(1) or verified(*given))
    time.sleep(1.1)  # its times have steps, so a younger file is not trusted to show a change
    for _ in range(3):
        assert store.read("f") == content
    assert len(hashed) == 1
    times = (root / "f").stat()
    (root / "f").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(root / "f", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(CorruptArtifactError):
        store.read("f")
    store.put("f", content)
    for _ in range(2):
        assert store.read("f") == content
    assert len(hashed) == 4


def test_a_missing_file_is_named_without_its_folders(store, root):
    with pytest.raises(NotFoundError) as caught, store.reader("d/missing"):
        pytest.fail("it is not there")
    assert "d/missing" in str(caught.value)
    assert str(root) not in str(caught.value)


def test_the_next_writer_sweeps_what_killed_ones_left(store, root):
    store.put("f", b"1")
    scratch = root / ".prefect-ml/partial"
    old, young = scratch / ".old.partial", scratch / ".young.partial"
    for path in (old, young):
        path.write_bytes(b"half")
    a_day_ago = time.time() - 25 * 3600
    os.utime(old, (a_day_ago, a_day_ago))
    store.put("g", b"1")
    assert list(scratch.iterdir()) == [young]


def test_what_others_put_there_is_read_without_a_digest(store, root):
    store.put("f", b"1")
    (root / "theirs").write_bytes(b"2")
    assert store.read("theirs") == b"2"
    assert {i.name: i.digest is None for i in store.list()} == {"f": False, "theirs": True}


WRITER = """
import os, sys
from pathlib import Path
from prefect_ml.artifacts.local import LocalArtifactStore
store = LocalArtifactStore(Path(sys.argv[1]))
sizes = [0, 10, 3_000_000]
print("ready", flush=True)
n = 0
while True:
    n += 1
    store.put("f", n.to_bytes(8) * (1 + sizes[n % 3] // 8))
"""


def test_a_killed_writer_leaves_a_whole_file_that_verifies(root):
    for attempt in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.02 + attempt * 0.007)
            writer.send_signal(signal.SIGKILL)
        store = LocalArtifactStore(root)
        if not (root / "f").exists():
            continue
        content = store.read("f")
        # On a busy machine a writer may be killed before it has written anything: then the last one's file is there.
        assert content in {b"again", content[:8] * (len(content) // 8)}
        assert [i.name for i in store.list()] == ["f"]
        store.put("f", b"again")
        assert store.read("f") == b"again"


CRASH_POINTS = ["before note", "after note", "after rename"]


@pytest.mark.parametrize("first", CRASH_POINTS)
@pytest.mark.parametrize("second", CRASH_POINTS)
def test_a_file_verifies_after_a_crash_at_every_step_twice_over(store, root, monkeypatch, first, second):
    store.put("f", b"old")
    allowed = {b"old"}
    for point, content in ((first, b"one"), (second, b"two")):
        allowed.add(content)
        with monkeypatch.context() as patched:
            _crash_at(patched, point)
            with pytest.raises(KeyboardInterrupt):
                store.put("f", content)
        assert store.read("f") in allowed
    store.put("f", b"three")
    assert store.read("f") == b"three"
    (root / "f").write_bytes(b"two")
    with pytest.raises(CorruptArtifactError):
        store.read("f")


def _crash_at(patched, point):
    """Stop at one of the steps of a commit, as a kill would: what was renamed stays, nothing is undone."""
    from prefect_ml.artifacts import digests

    write, sync = digests.write_text, digests.sync_folder
    calls = []

    def counted(name, real, *args):
        calls.append(name)
        if (point, calls) == ("before note", ["write"]):
            raise KeyboardInterrupt
        if (point, calls) == ("after note", ["write", "sync"]):
            raise KeyboardInterrupt
        if (point, calls) == ("after rename", ["write", "sync", "sync"]):
            raise KeyboardInterrupt
        real(*args)

    patched.setattr(digests, "write_text", lambda *args: counted("write", write, *args))
    patched.setattr(digests, "sync_folder", lambda *args: counted("sync", sync, *args))


def test_readers_and_writers_of_one_name_never_meet_a_part(root):
    contents = [bytes([65 + i]) * (1000 * (i + 1)) for i in range(4)]
    LocalArtifactStore(root).put("f", contents[0])
    stop = threading.Event()
    errors = []

    def write(content):
        store = LocalArtifactStore(root)
        while not stop.is_set():
            store.put("f", content)

    def read():
        store = LocalArtifactStore(root)
        while not stop.is_set():
            try:
                assert store.read("f") in contents
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
                errors.append(error)
                return

    threads = [threading.Thread(target=write, args=(c,)) for c in contents] + [threading.Thread(target=read)] * 1
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert LocalArtifactStore(root).read("f") in contents


def test_memory_stays_flat(tmp_path):
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(300 << 20)
    script = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from prefect_ml.artifacts.local import LocalArtifactStore\n"
        "s = LocalArtifactStore(Path(sys.argv[2]))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "s.put('b', Path(sys.argv[1])); s.download('b', Path(sys.argv[1] + '2'))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(big), str(tmp_path / "root")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 20_000  # KiB
    assert (tmp_path / "big2").stat().st_size == 300 << 20


def test_a_full_disk_is_an_error_that_leaves_the_old_file(store, root):
    store.put("f", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(ArtifactError, match="File too large"):
            store.put("f", bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert store.read("f") == b"old"
    assert list(root.rglob("*.partial")) == []


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://host/x",
        "gopher://x",
        "file://evil/etc",
        "file:relative",
        "file:///a#/../../etc",
        "file:///a?x=/etc",
        "file:///a/../etc",
        "file:///a/%2e%2e/etc",
        "file:///a%00",
        "/a/../etc",
        "../etc",
        "a\x00",
    ],
)
def test_a_root_that_is_no_plain_local_folder_is_refused(uri):
    with pytest.raises(InvalidInputError):
        open_artifacts(uri)


def test_a_file_uri_is_decoded_once(tmp_path):
    assert open_artifacts(f"file://{tmp_path}/a%20b%2523").uri == f"{tmp_path}/a b%23"
    assert open_artifacts(f"{tmp_path}/a%20b#c?d").uri == f"{tmp_path}/a%20b#c?d"


def test_a_process_forked_while_a_file_is_replaced_keeps_nobody_from_replacing(store, root):
    store.put("a", b"1")
    notes = DigestNotes(root)
    with notes._locked():
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    writer = threading.Thread(target=store.put, args=("a", b"2"), daemon=True)
    writer.start()
    try:
        writer.join(10)
        assert not writer.is_alive(), "the child holds the lock"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        writer.join(10)
    assert store.read("a") == b"2"


def test_deleting_in_a_folder_between_leaves_the_digests_of_its_neighbours(tmp_path):
    root = LocalArtifactStore(tmp_path)
    noted = [root.put(f"1/{run}/artifacts/a.bin", b"a") for run in ("one", "two")]
    LocalArtifactStore(tmp_path / "1").delete("one")
    assert root.list("1/two/artifacts") == noted[1:]
    assert root.list("1/one") == []
