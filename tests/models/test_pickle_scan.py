"""What pickles would import is named, whatever holds them; nothing of it is ever unpickled."""

from __future__ import annotations

import bz2
import contextlib
import copyreg
import gzip
import io
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from prefect_ml.models.folder import save_model
from prefect_ml.models.pickle_files import scan_folder
from prefect_ml.models.pickle_scan import OPCODES, Import, scan_pickle
from prefect_ml.registry.scan_gate import SAFE

HARMLESS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=5)
        | st.sets(st.integers() | st.text(max_size=5), max_size=5)
        | st.frozensets(st.binary(max_size=5), max_size=5)
    ),
    max_leaves=20,
)
PROTOCOLS = st.integers(0, pickle.HIGHEST_PROTOCOL)
BYTES = st.sampled_from([code[0] for code in OPCODES]) | st.integers(0, 255)
SYSTEM = Import(os.system.__module__, "system")


class Bomb:
    def __reduce__(self):
        return os.system, ("echo unpickled > unpickled.txt",)


def scanned(data):
    return scan_pickle(io.BytesIO(data), len(data))


def found_in(folder):
    scan = scan_folder(folder)
    return {each.what for each in scan.imports if each.what not in SAFE}, scan


@settings(max_examples=200, deadline=None)
@given(HARMLESS, PROTOCOLS)
def test_any_pickle_of_builtin_values_is_followed_to_its_end_and_imports_nothing_dangerous(value, protocol):
    scan = scanned(pickle.dumps(value, protocol))
    assert scan.problem == ""
    assert set(scan.imports) <= SAFE


@settings(max_examples=100, deadline=None)
@given(HARMLESS, HARMLESS, PROTOCOLS)
def test_a_bomb_is_named_wherever_it_lies_and_also_when_the_end_is_cut_off(before, after, protocol):
    data = pickle.dumps([before, {"bomb": (Bomb(), after)}], protocol)
    assert SYSTEM in scanned(data).imports
    cut = scanned(data[:-1])
    assert SYSTEM in cut.imports
    assert cut.problem


class Inert:
    """What a name stands for where nothing is to happen."""

    def __init__(self, *_, **__):
        self.append = self.extend = self.add = lambda _: None

    def __setstate__(self, _):
        """Take any state."""

    def __setitem__(self, _, __):
        """Take any item."""


class Recorder(pickle._Unpickler):
    """Python's own unpickler, which is given nothing that it asks for."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.asked = set()

    def find_class(self, module, name):
        self.asked.add(Import(module, name))
        return Inert


@settings(max_examples=400, deadline=None)
@given(HARMLESS, PROTOCOLS, st.lists(st.tuples(st.integers(0, 10_000), BYTES), max_size=6), st.booleans())
def test_whatever_python_would_import_is_named_in_pickles_with_bytes_changed_too(value, protocol, changes, insert):
    data = bytearray(pickle.dumps([value, Bomb(), {"k": (value, Bomb)}], protocol))
    for at, byte in changes:
        data[at % len(data) : at % len(data) + (not insert)] = bytes([byte])
    if b"\x96" in data:
        return  # an array of as many bytes as the damage says would be made
    recorder = Recorder(bytes(data))
    with contextlib.suppress(Exception):
        recorder.load()
    assert recorder.asked <= set(scanned(bytes(data)).imports)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data):
    assert scanned(data).problem or b"." in data


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_bombs_of_every_protocol_in_files_of_any_name(tmp_path, protocol):
    data = pickle.dumps(Bomb(), protocol)
    for name in ("model.pkl", "weights", "notes.txt", "deep/er/x.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    dangerous, scan = found_in(tmp_path)
    assert dangerous == {SYSTEM}
    assert {each.file for each in scan.imports} == {"model.pkl", "weights", "notes.txt", "deep/er/x.json"}
    assert scan.unread == {}


HAND_MADE = {
    "names on the stack": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.",
    "names from the memo": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94000h\x00h\x01\x93\x8c\x02ls\x85R.",
    "no protocol": b"\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.",
    "INST": b"(S'ls'\niposix\nsystem\n.",
    "OBJ": b"(cposix\nsystem\nS'ls'\no.",
    "a later pickle of the file": pickle.dumps(1) + b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.",
    "a name that the end cuts off": b"(cposix\nsystem\nX\x02\x00\x00\x00lso",
    "followed by rubbish": b"cposix\nsystem\n(S'ls'\ntR\xff\xff",
    "behind a mark that is popped": b"\x80\x02(K\x01K\x021cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.",
}


@pytest.mark.parametrize("data", HAND_MADE.values(), ids=HAND_MADE.keys())
def test_pickles_that_no_pickler_writes(tmp_path, data):
    (tmp_path / "anything").write_bytes(data)
    assert SYSTEM in found_in(tmp_path)[0]


def test_names_that_are_computed_or_come_from_the_registry_of_extensions(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04cbuiltins\nstr\n\x8c\x05posix\x85R\x8c\x06system\x93\x8c\x02ls\x85R.")
    copyreg.add_extension("os", "system", 240)
    try:
        (tmp_path / "b.pkl").write_bytes(b"\x80\x02\x82\xf0.")
    finally:
        copyreg.remove_extension("os", "system", 240)
    assert found_in(tmp_path)[0] == {
        Import("builtins", "str"),
        Import("(computed)", "system"),
        Import("(copyreg extension)", "240"),
    }


def test_bombs_in_archives_arrays_and_compressed_files(tmp_path):
    bomb = pickle.dumps(Bomb())
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("data.pkl", bomb)
    with zipfile.ZipFile(tmp_path / "nested.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("inner.zip", inner.getvalue())
    (tmp_path / "prefixed.bin").write_bytes(b"#!/bin/sh\n" + inner.getvalue())
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        member = tarfile.TarInfo("pickle")
        member.size = len(bomb)
        archive.addfile(member, io.BytesIO(bomb))
    for name, compress in (("g.gz", gzip.compress), ("b.bz2", bz2.compress), ("x.xz", lzma.compress)):
        (tmp_path / name).write_bytes(compress(bomb))
    (tmp_path / "z").write_bytes(zlib.compress(bomb))
    np.save(tmp_path / "objects.npy", np.array([Bomb()], dtype=object))
    np.savez(tmp_path / "several.npz", plain=np.arange(3), objects=np.array([Bomb()], dtype=object))
    joblib.dump({"weights": np.arange(5.0), "bomb": Bomb()}, tmp_path / "a.joblib")
    joblib.dump(np.array([Bomb()], dtype=object), tmp_path / "o.joblib")
    dangerous, scan = found_in(tmp_path)
    assert dangerous == {SYSTEM}
    assert scan.unread == {}
    held = {each.file for each in scan.imports if each.what == SYSTEM}
    assert held == {
        "nested.skops!inner.zip!data.pkl", "prefixed.bin!data.pkl", "old.tar!pickle", "g.gz", "b.bz2", "x.xz", "z",
        "objects.npy", "several.npz!objects.npy", "a.joblib", "o.joblib",
    }  # fmt: skip


def test_what_joblib_takes_for_an_array_is_read_as_opcodes_too(tmp_path):
    """Another unpickler goes on where joblib would step over the bytes of an array."""
    payload = b"cposix\nsystem\nX\x02\x00\x00\x00ls\x85R."
    array = np.frombuffer(payload.ljust(64, b"\0"), np.uint8)
    joblib.dump(array, tmp_path / "hidden.joblib")
    data = (tmp_path / "hidden.joblib").read_bytes()
    at = data.index(payload)
    # No padding, so that the payload is what comes next.
    start = data.rindex(b"b", 0, at)
    (tmp_path / "hidden.joblib").write_bytes(data[: start + 1] + payload + data[at + len(payload) :])
    assert SYSTEM in found_in(tmp_path)[0]


def test_arrays_numbers_and_models_in_safe_formats_hold_nothing_dangerous(tmp_path):
    features = np.random.default_rng(0).normal(size=(50, 3))
    save_model(Ridge().fit(features, features[:, 0]), tmp_path / "model", input_example=features[:2])
    np.save(tmp_path / "numbers.npy", features)
    np.save(tmp_path / "words.npy", np.array(["a", None], dtype=object))
    for number in range(20):
        joblib.dump([np.random.default_rng(number).normal(size=100), np.arange(7)], tmp_path / f"{number}.joblib")
    joblib.dump(features, tmp_path / "small.joblib", compress=3)
    (tmp_path / "vocabulary.txt").write_text("cat\ndog\ncow\n")
    dangerous, scan = found_in(tmp_path)
    assert dangerous == set()
    assert scan.unread == {}
    assert "words.npy" in scan.pickles
    assert not [name for name in scan.pickles if name.startswith("model/")]


def test_torch_files(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"weights": torch.arange(640.0), "bias": torch.zeros(3)}, tmp_path / "state.pt")
    assert found_in(tmp_path)[0] == set()
    torch.save({"weights": torch.arange(3.0), "bomb": Bomb()}, tmp_path / "bad.pt")
    dangerous, scan = found_in(tmp_path)
    assert dangerous == {SYSTEM}
    assert scan.unread == {}


def test_a_model_pickle_names_its_library(tmp_path):
    features = np.random.default_rng(0).normal(size=(50, 3))
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Ridge().fit(features, features[:, 0])))
    assert {what.module for what in found_in(tmp_path)[0]} == {"sklearn.linear_model._ridge"}


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "empty.pkl").touch()
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps(list(range(100)))[:50])
    (tmp_path / "text.pickle").write_text("no pickle")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(pickle.dumps("x" * 100))[:20])
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{")
    (tmp_path / "huge.pkl").write_bytes(b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.")
    (tmp_path / "memo.pkl").write_bytes(b"\x80\x02h\x07.")
    (tmp_path / "fast.joblib").write_bytes(b"\x04\x22\x4d\x18....")
    (tmp_path / "link").symlink_to("/etc/hostname")
    data = pickle.dumps(Bomb())
    for _ in range(6):
        data = gzip.compress(data)
    (tmp_path / "deep.gz").write_bytes(data)
    assert set(scan_folder(tmp_path).unread) == {path.name for path in tmp_path.iterdir()}


def test_a_bomb_of_bytes_is_not_inflated_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_ml.models.pickle_files._MOST_INFLATED", 1 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"\0" * (8 << 20)))
    assert "more than" in scan_folder(tmp_path).unread["bomb.gz"]
