"""`prefect-ml models convert`."""

from __future__ import annotations

from pathlib import Path

from prefect_ml.cli.output import Json, console, print_json
from prefect_ml.settings import Settings
from prefect_ml.store import open_store


def convert(uri: str, folder: Path, *, timeout: float = 600.0, json: Json = False) -> None:
    """Write a model in XGBoost's old binary format anew, so that later releases of XGBoost read it.

    uv builds an environment with XGBoost 2.1 for it, once; what the old and the new weights predict is compared.

    Args:
        uri: A model URI, or a folder that holds an MLmodel file.
        folder: The new folder.
        timeout: Seconds for all of it.
        json: Print JSON for programs.
    """
    from prefect_ml.registry.convert import convert_model  # noqa: PLC0415 (only this command needs it)

    written = convert_model(open_store(), uri, folder, Settings(), timeout=timeout)
    if json:
        print_json({"uri": uri, "folder": str(written)})
    else:
        console.print(f"Wrote {written}, which predicts the same.", markup=False, soft_wrap=True, highlight=False)
