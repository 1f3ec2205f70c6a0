"""What a worker of a process pool does."""

from __future__ import annotations

from prefect.settings import PREFECT_API_URL, temporary_settings

import prefect_ml as ml
from prefect_ml.flowruns import announced


def register(api_url: str, folder: str, name: str) -> int:
    with temporary_settings({PREFECT_API_URL: api_url}):
        return announced.register_model(ml.open_store(), folder, name).version
