"""Signatures: only a trusted signer's is trust, and one that does not hold refuses the model wherever it came from."""

from __future__ import annotations

import json
import shutil

import pytest
from sklearn.preprocessing import FunctionTransformer

import prefect_ml as ml
from prefect_ml.errors import (
    AlreadyExistsError,
    CorruptArtifactError,
    InvalidInputError,
    NotFoundError,
    UntrustedModelError,
)
from prefect_ml.models.digest import SIGNATURE_FILE, folder_digest
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.models.keys import make_key, parse_public, read_key
from prefect_ml.models.signing import sign_folder, signed_by
from prefect_ml.registry.resolve import load
from prefect_ml.settings import Settings
from served import TrackingServer


def double(data):
    return [2 * value for value in data]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signed") / "m"
    save_model(double, folder, input_example=[1, 2])
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "m")


@pytest.fixture
def key(tmp_path):
    return tmp_path / "key.pem"


@pytest.fixture
def public(key):
    return make_key(key)


def test_the_signature_of_a_trusted_signer_is_trust(folder, key, public):
    with pytest.raises(UntrustedModelError, match="PREFECT_ML_TRUSTED_SIGNERS"):
        load_model(folder, origin="x", trusted_signers=[public])
    signed = sign_folder(folder, key)
    assert (signed.signer, signed_by(folder)) == (public, signed)
    assert load_model(folder, origin="x", trusted_signers=[public]).predict([2, 3]) == [4, 6]


def test_another_signer_is_no_trust_and_no_harm(folder, key, public, tmp_path):
    other = make_key(tmp_path / "other.pem")
    sign_folder(folder, key)
    with pytest.raises(UntrustedModelError):
        load_model(folder, origin="x", trusted_signers=[other])
    assert load_model(folder, origin="x", trusted_origins=["x"], trusted_signers=[other]).predict([1, 1]) == [2, 2]
    assert public != other


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def signature(folder, **changes):
    content = json.loads((folder / SIGNATURE_FILE).read_bytes())
    (folder / SIGNATURE_FILE).write_text(json.dumps({**content, **changes}))


CHANGES = {
    "a byte of the weights": lambda folder: flip(folder / "model.pkl"),
    "a file more": lambda folder: (folder / "code/extra.py").write_text(""),
    "a file less": lambda folder: (folder / "requirements.txt").unlink(),
    "a file renamed": lambda folder: (folder / "conda.yaml").rename(folder / "conda.yml"),
    "two files exchanged": lambda folder: (
        (folder / "conda.yaml").rename(folder / "x"),
        (folder / "python_env.yaml").rename(folder / "conda.yaml"),
        (folder / "x").rename(folder / "python_env.yaml"),
    ),
    "a second signature file": lambda folder: shutil.copy(folder / SIGNATURE_FILE, folder / "code" / SIGNATURE_FILE),
    "another algorithm": lambda folder: signature(folder, algorithm="none"),
    "no signature in it": lambda folder: signature(folder, signature=None),
    "an empty signature": lambda folder: signature(folder, signature=""),
    "no key in it": lambda folder: signature(folder, public_key={}),
    "a signature of zeros": lambda folder: signature(folder, signature="A" * 86 + "=="),
    "no JSON": lambda folder: (folder / SIGNATURE_FILE).write_bytes(b"\x80"),
    "a list": lambda folder: (folder / SIGNATURE_FILE).write_text("[]"),
    "deep JSON": lambda folder: (folder / SIGNATURE_FILE).write_text("[" * 10_000),
    "a folder": lambda folder: ((folder / SIGNATURE_FILE).unlink(), (folder / SIGNATURE_FILE).mkdir()),
    "a link": lambda folder: (
        (folder / SIGNATURE_FILE).rename(folder.parent / "s"),
        (folder / SIGNATURE_FILE).symlink_to(folder.parent / "s"),
    ),
    "a dangling link": lambda folder: (
        (folder / SIGNATURE_FILE).unlink(),
        (folder / SIGNATURE_FILE).symlink_to(folder / "none"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_signature_that_does_not_hold_refuses_the_model_of_a_trusted_origin(folder, key, public, change):
    sign_folder(folder, key)
    CHANGES[change](folder)
    with pytest.raises(CorruptArtifactError, match="sign"):
        load_model(folder, origin="x", trusted_origins=["*"], trusted_signers=[public])


def test_a_signature_of_another_model_does_not_hold(folder, key, public, tmp_path):
    save_model(len, tmp_path / "other")
    sign_folder(tmp_path / "other", key)
    shutil.copy(tmp_path / "other" / SIGNATURE_FILE, folder)
    with pytest.raises(CorruptArtifactError):
        load_model(folder, origin="x", trusted_signers=[public])


def test_a_signature_also_trusts_types_that_skops_does_not_know(tmp_path, key, public):
    save_model(FunctionTransformer(double), tmp_path / "m", allow_pickle=True)
    sign_folder(tmp_path / "m", key)
    assert load_model(tmp_path / "m", origin="x", trusted_signers=[public]).native.func([1]) == [2]


def test_the_private_key_is_the_owners_alone(key, public):
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AlreadyExistsError, match="never overwritten"):
        make_key(key)
    assert public.startswith("ed25519:")
    key.chmod(0o640)
    with pytest.raises(InvalidInputError, match="chmod 600") as caught:
        read_key(key)
    assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"secret text", b"-----BEGIN PRIVATE KEY-----\nsecret\n"])
def test_what_is_no_key_is_said_without_a_word_of_it(tmp_path, content):
    (tmp_path / "k").touch(0o600)
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(InvalidInputError, match="no private key") as caught:
        read_key(tmp_path / "k")
    assert "secret" not in str(caught.value)
    with pytest.raises(NotFoundError):
        read_key(tmp_path / "none")


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 43 + "=", "ed25519:ed25519:AAAA"])
def test_a_setting_that_is_no_key_is_refused(folder, text):
    with pytest.raises(InvalidInputError, match="public key"):
        parse_public(text)
    with pytest.raises(InvalidInputError, match="public key"):
        load_model(folder, origin="x", trusted_origins=["x"], trusted_signers=[text])


def test_a_version_is_signed_after_it_was_registered_and_cached(folder, key, public, monkeypatch):
    monkeypatch.setenv("PREFECT_ML_TRUSTED_SIGNERS", public)
    store = ml.open_store()
    version = ml.register_model(str(folder), "doubling")
    with pytest.raises(UntrustedModelError):
        load(store, "models:/doubling/1", Settings())
    ml.sign_model("models:/doubling/1", key)
    assert ml.load_model("models:/doubling/1").predict([4, 5]) == [8, 10]
    assert store.get_model_version("doubling", 1).artifact_digest == version.artifact_digest == folder_digest(folder)
    # As another machine does that cached it before.
    cached = next((Settings().cache_folder / "models").glob("[0-9a-f]*"))
    (cached / SIGNATURE_FILE).unlink()
    assert ml.load_model("models:/doubling/1").predict([4, 5]) == [8, 10]


def test_a_version_whose_files_are_behind_a_server_is_signed_there(key, public, tmp_path, monkeypatch):
    with TrackingServer(tmp_path / "server") as server:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
        monkeypatch.setenv("PREFECT_ML_TRUSTED_SIGNERS", public)
        with ml.start_run("training"):
            ml.log_model(double, "model", input_example=[1, 2], register="served")
        with pytest.raises(UntrustedModelError):
            ml.load_model("models:/served/1")
        ml.sign_model("models:/served/1", key)
        monkeypatch.setenv("PREFECT_ML_HOME", str(tmp_path / "another machine"))
        assert ml.load_model("models:/served/1").predict([3, 4]) == [6, 8]
        # Signed again where the files lie, past the server, which goes on to give them out.
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.store)
        monkeypatch.setenv("PREFECT_ML_ARTIFACT_ROOT", str(server.artifacts))
        monkeypatch.setenv("PREFECT_ML_TRUSTED_SIGNERS", make_key(tmp_path / "other.pem"))
        ml.sign_model("models:/served/1", tmp_path / "other.pem")
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
        monkeypatch.setenv("PREFECT_ML_HOME", str(tmp_path / "a third machine"))
        assert ml.load_model("models:/served/1").predict([3, 4]) == [6, 8]


def test_a_gate_runs_what_a_trusted_signer_signed(folder, key, public, monkeypatch):
    from prefect_ml.registry.gate import Subject

    store = ml.open_store()
    version = ml.register_model(str(folder), "gated")

    def subject():
        return Subject(store, version, Settings())

    monkeypatch.setenv("PREFECT_ML_TRUSTED_SIGNERS", public)
    assert subject().folder.is_dir()
    with pytest.raises(UntrustedModelError):
        subject().load()
    ml.sign_model("models:/gated/1", key)
    assert subject().load().predict([4]) == [8]
    assert subject().trusted_origins == ("models:/gated/1",)
    with pytest.raises(UntrustedModelError):
        subject().load(trust=False)


def test_the_commands(folder, tmp_path, monkeypatch, capsys):
    from prefect_ml.cli import app

    def run(*argv):
        with pytest.raises(SystemExit) as ended:
            app(["models", *argv, "--json"])
        out = capsys.readouterr().out
        return ended.value.code, json.loads(out), out

    code, made, out = run("keygen", str(tmp_path / "k.pem"))
    private = (tmp_path / "k.pem").read_text().splitlines()[1]
    assert (code, private in out) == (0, False)
    assert run("verify", str(folder))[:2] == (1, {"signer": None, "trusted": False})
    assert run("sign", str(folder), "--key", str(tmp_path / "k.pem"))[:2] == (
        0,
        {"signer": made["public_key"], "key_id": made["key_id"]},
    )
    assert run("verify", str(folder))[:2] == (1, {"signer": made["public_key"], "trusted": False})
    monkeypatch.setenv("PREFECT_ML_TRUSTED_SIGNERS", made["public_key"])
    assert run("verify", str(folder))[:2] == (0, {"signer": made["public_key"], "trusted": True})
    code, found, _ = run("scan", str(folder))
    assert (code, found["pickles"]) == (0, ["model.pkl"])
    assert {"file": "model.pkl", "module": "cloudpickle.cloudpickle", "name": "_make_function"} in found["imports"]
    (folder / "model.pkl").write_bytes(b"\x80\x04cut")
    assert run("scan", str(folder))[0] == 1
