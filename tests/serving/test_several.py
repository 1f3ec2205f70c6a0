"""Several models in one process, and several processes that serve them."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LinearRegression

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.folder import save_model
from prefect_ml.serving.wanted import Wanted, wanted_models

BODY = {"inputs": [[30.0, 1.0]]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, frame):
    """Two models of arrays that tell by their answers which they are."""
    rows = frame.to_numpy()
    folders = []
    for slope in (1.0, 10.0):
        folder = tmp_path_factory.mktemp("models") / f"slope {slope:g}"
        save_model(LinearRegression().fit(rows, slope * (rows[:, 0] + 2 * rows[:, 1])), folder, input_example=rows)
        folders.append(str(folder))
    return folders


@pytest.fixture(scope="module")
def workers(folders, tmp_path_factory, serving_process):
    home = str(tmp_path_factory.mktemp("home"))
    with serving_process(folders[0], f"ten={folders[1]}", "--workers", "2", PREFECT_ML_HOME=home) as client:
        yield client
    assert not servers(folders)


def servers(folders):
    """The processes here that serve these models; other tests of this process have others."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # one of another test's that has just ended
            if f"ten={folders[1]}" in child.cmdline():
                found.append(child)
    return found


def predicted(client, path, **headers):
    answer = client.post(path, json=BODY, headers=headers)
    assert answer.status_code == 200, answer.text
    return round(answer.json()["predictions"][0])


def test_each_model_answers_under_its_name_and_the_first_without(workers):
    assert predicted(workers, "/invocations") == 32
    assert predicted(workers, "/models/slope%201/invocations") == 32
    assert predicted(workers, "/models/ten/invocations") == 320


def test_what_is_served_under_no_name_is_said_with_those_there_are(workers):
    answer = workers.post("/models/eleven/invocations", json=BODY)
    assert answer.status_code == 404
    assert answer.json()["message"] == "No model is served as 'eleven'; there is: slope 1, ten."
    assert workers.get("/models/ten/invocations").status_code == 405


def test_health_tells_of_each(workers):
    health = workers.get("/health").json()
    assert health["status"] == "ok"
    assert list(health["models"]) == ["slope 1", "ten"]
    assert workers.get("/models/ten/health").json() == health["models"]["ten"]


def samples(client, name):
    text = client.get("/metrics").text
    return [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]


def test_the_numbers_of_all_workers_are_added_up_by_model(workers):
    def counted():
        found = samples(workers, "prefect_ml_model_requests_total")
        return sum(s.value for s in found if s.labels == {"model": "ten", "version": "", "status": "200"})

    before = counted()
    for _ in range(8):  # each over a connection of its own, which either worker may take
        with httpx.Client(base_url=workers.base_url, timeout=30) as client:
            assert predicted(client, "/models/ten/invocations") == 320
    assert counted() == before + 8
    refused = workers.post("/models/ten/invocations", json={"inputs": [["text", 1.0]]})
    assert refused.status_code == 400
    [errors] = [s for s in samples(workers, "prefect_ml_model_errors_total") if s.labels["model"] == "ten"]
    assert errors.value == 1
    assert {s.value for s in samples(workers, "prefect_ml_model_in_flight")} == {0}


def test_a_worker_that_is_killed_is_replaced(workers, folders):
    [server] = servers(folders)
    killed = server.children()[0].pid
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while len(alive := [child.pid for child in server.children()]) < 2 or killed in alive:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert predicted(workers, "/models/ten/invocations", connection="close") == 320


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("models:/churn@champion", "churn"),
        ("models:/churn/3", "churn"),
        ("models:/m-0a1b", "m-0a1b"),
        ("runs:/0a1b/some/model", "model"),
        ("./folder/", "folder"),
        ("b=models:/churn/3", "b"),
        ("x=./a=b", "x"),
    ],
)
def test_names_are_those_of_the_registry_or_the_end_of_the_uri(given, name):
    [wanted] = wanted_models([given])
    assert wanted == Wanted(name, given.removeprefix(f"{name}="))


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    assert wanted_models(["lr=0.1"]) == [Wanted("lr=0.1", "lr=0.1")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Nothing to serve"),
        (["models:/churn@champion", "models:/churn/3"], "served as 'churn'; name them as in other=models:/churn/3"),
        (["a=models:churn"], "names no registered model"),
    ],
)
def test_what_cannot_be_named_is_refused(given, message):
    with pytest.raises(InvalidInputError, match=message):
        wanted_models(given)
