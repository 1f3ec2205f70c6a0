"""The journal's file: what is acknowledged is read again, and damage is reported, never believed."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.errors import CorruptArtifactError
from prefect_ml.tracking.frames import PAGE, bad_bytes, frame, frames
from prefect_ml.tracking.journal import JournalReader, JournalWriter, remove_if_abandoned

RECORDS = [orjson.dumps(["metric", n, n, {"loss": n / 7}]) for n in range(12)]


@pytest.fixture
def written(tmp_path):
    """A journal that its writer has left."""
    writer = JournalWriter(tmp_path, "a" * 32)
    for record in RECORDS:
        assert writer.append(record)
    writer.close()
    return writer.path


def read(path: Path) -> tuple[list[bytes], int]:
    """All valid records without their filling, and the bad bytes after them."""
    with JournalReader(path) as reader:
        found, at = [], 0
        while True:
            records, end = reader.read(at, most=128)
            if not records:
                return found, reader.bad_bytes(at)
            found += [record.rstrip() for record in records]
            at = end


@given(st.lists(st.binary(min_size=1, max_size=300)))
def test_frames_give_back_what_was_framed(payloads):
    data = b"".join(b"".join(frame(payload)) for payload in payloads)
    found = list(frames(data + bytes(64)))
    assert [payload.rstrip(b" ") for _, payload in found] == [payload.rstrip(b" ") for payload in payloads]
    assert (found[-1][0] if found else 0) == len(data)


@given(st.binary(max_size=400), st.integers(0, 100))
def test_no_bytes_make_the_scan_fail(data, at):
    ends = [end for end, _ in frames(data, at)]
    assert ends == sorted(ends)
    assert bad_bytes(data, 0) >= 0


@settings(max_examples=200)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8), st.data())
def test_a_flipped_bit_costs_the_records_from_there_on_and_is_reported(payloads, data):
    whole = b"".join(b"".join(frame(payload)) for payload in payloads)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    spoiled = bytearray(whole)
    spoiled[bit // 8] ^= 1 << bit % 8
    good, found = list(frames(whole)), list(frames(bytes(spoiled)))
    assert found == [one for one in good if one[0] <= bit // 8]
    end = found[-1][0] if found else 0
    assert bad_bytes(bytes(spoiled[end:]) + bytes(-len(whole) % PAGE), end) > 0


def test_what_was_appended_is_read(written):
    assert read(written) == (RECORDS, 0)


def test_reading_goes_on_from_where_it_ended(tmp_path):
    writer = JournalWriter(tmp_path, "a" * 32)
    with JournalReader(writer.path) as reader:
        assert reader.read(0) == ([], 0)
        writer.append(b'["a"]')
        first, end = reader.read(0)
        writer.append(b'["b"]')
        second, last = reader.read(end)
        assert (first[0].rstrip(), second[0].rstrip()) == (b'["a"]', b'["b"]')
        assert reader.read(last) == ([], last)
        assert (reader.run_id, reader.journal_id) == (writer.run_id, writer.journal_id)
    writer.close()


def test_a_record_larger_than_all_steps(tmp_path):
    writer = JournalWriter(tmp_path, "a" * 32)
    large = orjson.dumps(["tag", {"note": "x" * 3_000_000}])
    for record in (b'["a"]', large, b'["b"]'):
        assert writer.append(record)
    writer.close()
    assert read(writer.path) == ([b'["a"]', large, b'["b"]'], 0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux shows it")
def test_a_long_journal_takes_no_more_memory_than_a_short_one(tmp_path):
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    writer = JournalWriter(tmp_path, "a" * 32)
    record = orjson.dumps(["tag", {"note": "x" * 4000}])
    before = resident()
    for _ in range(8000):
        writer.append(record)
    assert resident() - before < 8 << 20
    writer.close()
    with JournalReader(writer.path) as reader:
        assert [found.rstrip() for found in reader.all()] == [record] * 8000


def test_cut_at_every_byte(written, tmp_path):
    whole = written.read_bytes()
    ends = ends_of(whole)
    copy = tmp_path / "cut.journal"
    for size in range(ends[-1] + 64):
        copy.write_bytes(whole[:size])
        if size < ends[0]:
            with pytest.raises(CorruptArtifactError):
                read(copy)
            continue
        records, bad = read(copy)
        assert records == RECORDS[: sum(end <= size for end in ends[1:])]
        assert bad > 0


def test_every_bit_flipped(written):
    whole = written.read_bytes()
    ends = ends_of(whole)
    with written.open("r+b", buffering=0) as file:
        for bit in range(8 * (ends[-1] + 8)):
            at = bit // 8
            file.seek(at)
            file.write(bytes([whole[at] ^ 1 << bit % 8]))
            if at < ends[0]:
                with pytest.raises(CorruptArtifactError):
                    JournalReader(written)
            else:
                with JournalReader(written) as reader:
                    found, end = reader.read(0)
                    bad = reader.bad_bytes(end)
                assert [record.rstrip() for record in found] == RECORDS[: sum(end <= at for end in ends[1:])]
                assert bad > 0
            file.seek(at)
            file.write(whole[at : at + 1])
    assert read(written) == (RECORDS, 0)


def ends_of(whole: bytes) -> list[int]:
    return [end for end, _ in frames(whole, 8)]


def test_many_threads_append_whole_records(tmp_path):
    writer = JournalWriter(tmp_path, "a" * 32)

    def work(thread):
        for number in range(2000):
            assert writer.append(orjson.dumps([thread, number]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    records, bad = read(writer.path)
    found = [tuple(orjson.loads(record)) for record in records]
    assert bad == 0
    assert sorted(found) == [(t, n) for t in range(4) for n in range(2000)]


def test_a_closed_journal_takes_nothing(tmp_path):
    writer = JournalWriter(tmp_path, "b" * 32)
    writer.close()
    assert writer.append(b"[]") is False
    assert writer.path.stat().st_mode & 0o777 == 0o600


def test_a_file_too_large_raises_and_keeps_what_was_there(tmp_path):
    """The limit on file sizes stands for a full disk: the same call refuses, with another number."""
    script = """
import resource, signal, sys
from pathlib import Path
from prefect_ml.tracking.journal import JournalWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = JournalWriter(Path(sys.argv[1]), "a" * 32)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
kept = 0
try:
    while True:
        writer.append(b'["metric", 1, 1, {"loss": 0.5}]')
        kept += 1
except OSError as error:
    print(kept, error.errno)
for _ in range(3):
    writer.append(b'["end"]', last=True)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    kept, number = map(int, done.stdout.split())
    assert number == errno.EFBIG
    [path] = tmp_path.glob("*/*.journal")
    records, bad = read(path)
    assert bad == 0
    assert len(records) == kept + 3
    assert kept > 1000


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting needs root")
def test_a_full_disk_raises_and_keeps_what_was_there(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], check=False)  # noqa: S607 - the one on the PATH
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        writer = JournalWriter(disk, "a" * 32)
        kept = 0
        with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - the loop fills the disk
            while True:
                writer.append(RECORDS[0])
                kept += 1
        assert writer.append(b'["end"]', last=True)
        writer.close()
        records, bad = read(writer.path)
        assert (len(records), bad) == (kept + 1, 0)
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607 - the one on the PATH


def test_a_killed_writer_leaves_what_it_acknowledged(tmp_path):
    script = """
import os
import sys
from pathlib import Path
from prefect_ml.tracking.journal import JournalWriter
writer = JournalWriter(Path(sys.argv[1]), "a" * 32)
n = 0
while True:
    writer.append(b"[%d]" % n)
    n += 1
    os.write(1, b"%d\\n" % n)
"""
    for delay in (0.02, 0.05, 0.1):
        folder = tmp_path / str(delay)
        process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            first = process.stdout.readline()
            time.sleep(delay)
            process.kill()
            lines = (first + process.stdout.read()).split(b"\n")
        process.wait()
        [path] = folder.glob("*/*.journal")
        records, _ = read(path)
        numbers = [orjson.loads(record)[0] for record in records]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= int(lines[-2])


def test_a_journal_is_only_removed_when_its_writer_is_gone(tmp_path):
    writer = JournalWriter(tmp_path, "a" * 32)
    writer.append(b'["a"]')
    with JournalReader(writer.path) as reader:
        end = reader.read(0)[1]
    assert remove_if_abandoned(writer.path, end) is False
    assert writer.path.exists()
    writer.close()
    assert remove_if_abandoned(writer.path, 0) is True
    assert writer.path.exists(), "not delivered yet"
    assert remove_if_abandoned(writer.path, end) is True
    assert not writer.path.exists()


def test_damage_is_kept_for_a_person(written):
    with JournalReader(written) as reader:
        end = reader.read(0)[1]
    with written.open("r+b") as file:
        file.seek(end + 100)
        file.write(b"rot")
    assert remove_if_abandoned(written, end) is True
    assert written.with_suffix(".damaged").exists()


def test_a_forked_child_neither_writes_to_nor_holds_its_parents_journal(tmp_path):
    writer = JournalWriter(tmp_path, "a" * 32)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        writer.abandon()
        os.write(tell, b"x")
        time.sleep(1)
        os._exit(0 if writer.append(b"[]") is False else 1)
    assert os.read(ready, 1) == b"x"
    assert remove_if_abandoned(writer.path, 0) is False, "the child gave the parent's lock away"
    writer.close()
    assert remove_if_abandoned(writer.path, 0) is True
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(ready)
    os.close(tell)


def test_descriptors_are_given_back(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(50):
        writer = JournalWriter(tmp_path, "a" * 32)
        with JournalReader(writer.path):
            writer.append(b"[]")
        writer.close()
    after = len(list(Path("/proc/self/fd").iterdir())) if before else 0
    assert after <= before + 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > before


def test_a_child_forked_while_a_journal_is_looked_at_does_not_hold_it(written):
    children = []

    def fork(_):
        children.append(os.fork())
        if children[-1] == 0:
            signal.pause()
            os._exit(0)
        raise OSError("the store is away")

    try:
        with pytest.raises(OSError, match="the store is away"):
            remove_if_abandoned(written, written.stat().st_size, fork)
        assert remove_if_abandoned(written, written.stat().st_size), "the child holds it as if it were its writer"
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
