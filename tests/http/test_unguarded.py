"""A token that is empty guards nothing: what other machines can reach is not served with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_ml.errors import InvalidInputError
from prefect_ml.serving.server import run_server
from prefect_ml.settings import Settings

REFUSED = "can be reached from other machines"


def test_a_tracking_server(tmp_path):
    command = [Path(sys.executable).with_name("prefect-ml"), "server", "--host", "0.0.0.0", "--port", "0"]  # noqa: S104
    environment = {**os.environ, "PREFECT_ML_HOME": str(tmp_path), "PREFECT_ML_SERVER_TOKEN": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert REFUSED in " ".join(done.stderr.split())


def test_a_model_server(tmp_path):
    with pytest.raises(InvalidInputError, match=REFUSED):
        run_server(str(tmp_path / "none"), host="0.0.0.0", port=0, settings=Settings(serve_token=""))  # noqa: S104
