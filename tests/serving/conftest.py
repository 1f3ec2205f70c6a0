"""A real model, saved in a folder, and the real command that serves it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.models.folder import save_model
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store

TOKEN = "secret"  # noqa: S105 (of this test)
COMMAND = str(Path(sys.executable).parent / "prefect-ml")
FRAME = pd.DataFrame({"age": [30.0, 40.0, 50.0], "income": [1.0, 2.0, 4.0]})


def fitted(slope: float = 1.0) -> LinearRegression:
    return LinearRegression().fit(FRAME, slope * (FRAME["age"] + 2 * FRAME["income"]))


@contextmanager
def serving(*arguments: str, **env: str) -> Iterator[httpx.Client]:
    """`prefect-ml serve` on a free port, stopped by its own handle, which must end well."""
    process = subprocess.Popen(
        [COMMAND, "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PREFECT_ML_SERVE_POLL_INTERVAL": "0.1", **env},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving "), f"it ended with {process.wait(30)}"
        with httpx.Client(base_url=line.split(" at ")[1].strip(), timeout=30) as client:
            yield client
    finally:
        process.terminate()
        assert process.wait(40) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "linear"
    save_model(fitted(), folder, input_example=FRAME)
    return folder


@pytest.fixture(scope="module")
def client(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("home")
    with serving(str(model_folder), PREFECT_ML_HOME=str(home)) as client:
        yield client


@pytest.fixture(scope="module")
def array_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("models") / "arrays"
    rows = FRAME.to_numpy()
    save_model(LinearRegression().fit(rows, rows[:, 0] + 2 * rows[:, 1]), folder, input_example=rows)
    with serving(str(folder), PREFECT_ML_HOME=str(tmp_path_factory.mktemp("home"))) as client:
        yield client


@pytest.fixture(scope="module")
def guarded_client(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = str(tmp_path_factory.mktemp("home"))
    with serving(str(model_folder), PREFECT_ML_HOME=home, PREFECT_ML_SERVE_TOKEN=TOKEN) as client:
        yield client


@pytest.fixture(scope="session")
def serving_process():
    """`serving`, for tests that choose what is served."""
    return serving


@pytest.fixture
def fit():
    """`fitted`: a line through FRAME, multiplied by a slope."""
    return fitted


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The store of the test's own home."""
    with closing(open_store()) as store:
        yield store


@pytest.fixture
def version(store: Store, tmp_path: Path) -> Callable[..., int]:
    """Registers a model with this slope and returns its version."""

    def register(slope: float, spoil: Callable[[Path], None] | None = None) -> int:
        folder = tmp_path / f"slope-{slope}"
        save_model(fitted(slope), folder, input_example=FRAME)
        if spoil is not None:
            spoil(folder)
        return register_model(store, str(folder), "linear").version

    return register


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return FRAME
