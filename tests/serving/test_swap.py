"""The alias moves, and the server follows without a failed request."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store

FRAME = pd.DataFrame({"age": [30.0, 40.0, 50.0], "income": [1.0, 2.0, 4.0]})
BODY = {"dataframe_records": [{"age": 30.0, "income": 1.0}]}


@pytest.fixture
def store():
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture
def versions(store, tmp_path: Path):
    """Two versions: the second predicts ten times what the first does."""
    for slope in (1, 10):
        folder = tmp_path / f"model-{slope}"
        model = LinearRegression().fit(FRAME, slope * (FRAME["age"] + 2 * FRAME["income"]))
        save_model(model, folder, input_example=FRAME)
        register_model(store, str(folder), "linear")
    store.set_alias("linear", "live", 1)


def until(client: httpx.Client, version: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while client.post("/invocations", json=BODY).headers["x-model-version"] != version:
        assert time.monotonic() < deadline, f"version {version} never answered: {client.get('/health').json()}"
        time.sleep(0.05)


@pytest.mark.usefixtures("versions")
def test_every_request_is_answered_while_the_alias_moves(serving_process, store, home):
    answers: list[tuple[int, str, float]] = []
    stop = threading.Event()

    def ask(base_url: httpx.URL) -> None:
        with httpx.Client(base_url=base_url, timeout=30) as own:
            while not stop.is_set():
                answer = own.post("/invocations", json=BODY)
                prediction = answer.json()["predictions"][0] if answer.status_code == 200 else -1.0
                answers.append((answer.status_code, answer.headers["x-model-version"], prediction))

    with serving_process("models:/linear@live", PREFECT_ML_HOME=str(home)) as client:
        threads = [threading.Thread(target=ask, args=(client.base_url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for version in (2, 1, 2):
                store.set_alias("linear", "live", version)
                until(client, str(version))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert client.get("/health").json()["generation"] == store.get_alias("linear", "live").generation
    assert {status for status, _, _ in answers} == {200}
    # the version in the header is the one that predicted, also in the middle of a swap
    assert {(version, round(prediction)) for _, version, prediction in answers} == {("1", 32), ("2", 320)}


@pytest.mark.usefixtures("versions")
def test_a_version_that_cannot_be_loaded_is_refused_and_the_old_one_goes_on(serving_process, store, home):
    with serving_process("models:/linear@live", PREFECT_ML_HOME=str(home)) as client:
        broken = Path(store.get_model_version("linear", 2).source.removeprefix("file://"))
        next(broken.glob("*.skops")).write_bytes(b"cut")
        store.set_alias("linear", "live", 2)
        deadline = time.monotonic() + 20
        while (health := client.get("/health").json())["error"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "Version 2 is refused" in health["error"]
        answer = client.post("/invocations", json=BODY)
        assert (answer.status_code, answer.headers["x-model-version"]) == (200, "1")
