"""A model in an environment that uv builds of its requirements alone; one such environment is built for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.models.folder import save_model
from prefect_ml.models.outputs import FILE
from prefect_ml.models.uv import find_uv
from prefect_ml.registry.clean_room import CleanRoom
from prefect_ml.registry.environments import read_pins
from prefect_ml.registry.gate import Candidate
from prefect_ml.registry.gates import evaluate_gate
from prefect_ml.registry.register import register_model
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

TRUSTING = CleanRoom(trust_pickle=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def store(tmp_path):
    found = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield found
    found.close()


@pytest.fixture
def judged(store, tmp_path, cache, monkeypatch):
    """Registers a model and puts it into the clean room; its folder may be changed before."""
    # Where this machine keeps wheels, when it does; uv does not read pip's settings.
    if found := os.environ.get("PIP_FIND_LINKS"):
        monkeypatch.setenv("UV_FIND_LINKS", found)

    def judge(model, gate=TRUSTING, change=lambda _: None, trusted=("models:/m/1",), **saved):
        save_model(model, tmp_path / "model", **{"input_example": [1.0, 2.0], **saved})
        change(tmp_path / "model")
        register_model(store, str(tmp_path / "model"), "m")
        settings = Settings(home=cache, trusted_origins=trusted)
        return evaluate_gate(gate, Candidate.of(store, "m", 1, "champion", settings))

    return judge


def double(data):
    return [{"y": 2.0 * value, "label": "even"} for value in data]


def needs_more(data):
    import numpy as np

    return [float(np.float64(value)) for value in data]


def bare(folder):
    """Leave only what is needed to open the pickle among the requirements."""
    requirements = folder / "requirements.txt"
    kept = [line for line in requirements.read_text().splitlines() if line.startswith("cloudpickle")]
    requirements.write_text("\n".join(kept) + "\n")


def test_it_predicts_the_same_there(judged, cache):
    result = judged(double)
    assert result.passed, result.summary
    installed = result.evidence["installed"]
    assert any(line.startswith("cloudpickle==") for line in installed)
    assert all("==" in line for line in installed)
    assert not any(line.startswith(("prefect", "scikit-learn", "pandas")) for line in installed)
    assert result.evidence["compared_with"] == "the outputs kept with the model"
    [environment] = (cache / "cache" / "environments").iterdir()
    assert (environment / "bin" / "python").exists()


def test_a_model_that_kept_no_outputs_is_compared_with_what_it_predicts_here(judged):
    result = judged(double, change=lambda folder: (folder / FILE).unlink())
    assert result.passed, result.summary
    assert result.evidence["compared_with"] == "this environment"


def test_other_outputs_fail(judged):
    def changed(folder):
        (folder / FILE).write_text('[{"y": 2.1, "label": "even"}, {"y": 4.0, "label": "even"}]')

    result = judged(double, change=changed)
    assert not result.passed
    assert "predicts something else: the output[0]['y'] is 2.0 instead of 2.1" in result.summary


def test_a_library_that_the_requirements_lack_is_missed(judged):
    result = judged(needs_more, change=bare)
    assert not result.passed
    assert "No module named 'numpy'" in result.summary


@pytest.mark.parametrize(("gate", "trusted"), [(CleanRoom(), ("models:/m/1",)), (TRUSTING, ())])
def test_no_pickle_is_loaded_without_the_trust_of_policy_and_operator(judged, gate, trusted):
    result = judged(double, gate=gate, trusted=trusted)
    assert not result.passed
    assert "UntrustedModelError" in result.summary


def test_without_an_example_there_is_nothing_to_replay(judged):
    assert "keeps no input example" in judged(double, input_example=None).summary


def test_what_uv_cannot_find_or_takes_too_long_fails(judged, monkeypatch):
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    result = judged(double, change=lambda folder: (folder / "requirements.txt").write_text("no-such-thing==1.0\n"))
    assert not result.passed
    assert "uv could not build the model's environment" in result.summary
    assert "no-such-thing" in result.summary


def test_a_clean_room_that_takes_too_long_fails(judged):
    result = judged(double, gate=CleanRoom(timeout=0.001))
    assert not result.passed
    assert "longer than 0.001 seconds" in result.summary


@pytest.mark.parametrize(
    "line",
    [
        "numpy", "numpy>=1", "numpy==1.*", "-r other.txt", "--index-url=https://evil", "numpy==1; python_version>'3'",
        "git+https://evil/x", "x @ file:///tmp/x", "./x", "numpy==1 --hash=sha256:0", "numpy[extra]==1",
        "$(touch x)==1", "-e .", "numpy===1", "a==1\\", "a==1 b==2", "ä==1",
    ],
)  # fmt: skip
def test_only_plain_pins_are_installed(tmp_path, line):
    (tmp_path / "requirements.txt").write_text(f"cloudpickle==3.0.0\n{line}\n")
    with pytest.raises(InvalidInputError, match="no plain pin"):
        read_pins(tmp_path)


def test_pins_are_read_by_name(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "# made by hand\n\nScikit_Learn==1.5.0  # old\ntorch==2.1.0+cpu\nx==1!2.0\n"
    )
    assert read_pins(tmp_path) == {"scikit-learn": "1.5.0", "torch": "2.1.0+cpu", "x": "1!2.0"}
    (tmp_path / "requirements.txt").write_text("a.b==1\nA-b==2\n")
    with pytest.raises(InvalidInputError, match="two versions"):
        read_pins(tmp_path)
    (tmp_path / "requirements.txt").unlink()
    with pytest.raises(NotFoundError):
        read_pins(tmp_path)


def test_uv_comes_from_its_package_or_the_path(monkeypatch, tmp_path):
    assert Path(find_uv()).name.startswith("uv")
    monkeypatch.setitem(__import__("sys").modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFoundError, match="pip install uv"):
        find_uv()
