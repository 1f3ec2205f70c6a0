"""The settings are read from the environment, and what cannot be meant is told by name."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from prefect_ml.errors import InvalidInputError
from prefect_ml.settings import Settings


def test_each_kind_of_setting_is_read_from_its_text(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_ML_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_ML_STORE_URL", "postgresql://ml:tell-nobody@db/ml")
    monkeypatch.setenv("PREFECT_ML_WATCH", "no")
    monkeypatch.setenv("prefect_ml_flush_timeout", "3")
    monkeypatch.setenv("PREFECT_ML_SERVE_THREADS", "7")
    monkeypatch.setenv("PREFECT_ML_CAPTURE", "git, host")
    monkeypatch.setenv("PREFECT_ML_TRUSTED_SIGNERS", "a, b,")
    monkeypatch.setenv("PREFECT_ML_WEBHOOK_HOSTS", "")
    found = Settings(serve_log="json", serve_token="also secret")  # noqa: S106
    assert (found.home, found.watch, found.flush_timeout, found.serve_threads) == (tmp_path, False, 3.0, 7)
    assert (found.capture, found.trusted_signers, found.webhook_hosts) == (("git", "host"), ("a", "b"), ())
    assert (found.serve_log, found.serve_token.get_secret_value()) == ("json", "also secret")
    assert found.resolved_store_url == "postgresql://ml:tell-nobody@db/ml"
    assert "tell-nobody" not in repr(found)
    assert "also secret" not in repr(found)
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - our own


def test_what_is_given_goes_before_the_environment_and_the_environment_before_the_default(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_SERVE_THREADS", "7")
    assert Settings(serve_threads=9).serve_threads == 9
    assert Settings().serve_threads == 7
    changed = Settings().replaced(serve_drain="3", server_token="t")  # noqa: S106
    assert (changed.serve_drain, changed.serve_threads, changed.server_token.get_secret_value()) == (3, 7, "t")
    with pytest.raises(FrozenInstanceError):
        changed.serve_drain = 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flush_timeout", "0"),
        ("watch", "perhaps"),
        ("capture", "git,all"),
        ("serve_threads", "many"),
        ("serve_log", "x"),
    ],
)
def test_what_a_setting_cannot_be_is_told_by_its_name_and_without_its_value(monkeypatch, name, text):
    monkeypatch.setenv(f"PREFECT_ML_{name.upper()}", text)
    with pytest.raises(InvalidInputError, match=f"PREFECT_ML_{name.upper()} cannot be read: Input should be"):
        Settings()


def test_a_setting_that_is_not_there_is_refused():
    with pytest.raises(InvalidInputError, match="no setting heartbeat"):
        Settings(heartbeat=1)


def test_a_process_that_sets_paths_and_texts_alone_reads_them_without_pydantic(tmp_path):
    code = "import sys; from prefect_ml.settings import Settings; Settings(); print('pydantic' in sys.modules)"
    given = {"PREFECT_ML_HOME": str(tmp_path), "PREFECT_ML_ARTIFACT_ROOT": "/a", "PREFECT_ML_CAPTURE": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, cwd=Path.cwd(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_every_default_is_what_its_setting_can_be(monkeypatch):
    for each in fields(Settings):
        monkeypatch.delenv(f"PREFECT_ML_{each.name.upper()}", raising=False)
    settings = Settings()
    for each in fields(Settings):
        value = getattr(settings, each.name)
        assert getattr(settings.replaced(**{each.name: value}), each.name) == value
