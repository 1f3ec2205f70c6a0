"""Models of XGBoost's old binary format, written anew by a release of XGBoost that still reads it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from prefect_ml.artifacts.names import resolve as resolve_name
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.apart import how_it_ended, kept_environment
from prefect_ml.models.flavors.xgboost import XgboostFlavor, is_binary, predict_matrix
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.models.mlmodel import FILE, read_info
from prefect_ml.models.process_group import run_until
from prefect_ml.registry.environments import build_environment
from prefect_ml.registry.resolve import fetch, resolve

if TYPE_CHECKING:
    from prefect_ml.models.folder import LoadedModel
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

# The last releases that read the binary format and know UBJSON; the wheel for processors alone is not made for macOS.
READS_BINARY = {"xgboost" if sys.platform == "darwin" else "xgboost-cpu": "2.1.4"}
_TOLERANCE = 1e-5
_NEW = "converted.ubj"
# Rows of all sizes, and what the old release predicts on them.
_SCRIPT = """
import json, sys
import numpy, xgboost
booster = xgboost.Booster()
booster.load_model(sys.argv[1])
booster.save_model(sys.argv[2])
rng = numpy.random.default_rng(0)
rows = rng.normal(size=(256, booster.num_features())) * 10.0 ** rng.integers(-3, 7, (256, 1))
rows[rng.random(rows.shape) < 0.02] = numpy.nan
names, types = booster.feature_names, booster.feature_types
matrix = xgboost.DMatrix(rows, feature_names=names, feature_types=types)
with open(sys.argv[3], "w") as stream:
    json.dump([rows.tolist(), booster.predict(matrix).tolist()], stream)
"""


def convert_model(store: Store, uri: str, folder: Path, settings: Settings, *, timeout: float = 600.0) -> Path:
    """Write a model of XGBoost's binary format as a new folder that later releases of XGBoost read.

    An environment with XGBoost 2.1 is built by uv in the cache folder, once; in a process of it the weights are read
    and written as UBJSON. What the old and the new ones predict on rows of all sizes must agree to 1e-5. The new one is
    saved as any model is: with this environment's versions, its signature, its metadata, and its example replayed.

    Args:
        store: where registered models and runs are looked up.
        uri: a model URI or a folder.
        folder: the new folder.
        settings: the cache.
        timeout: seconds for the environment and the conversion.

    Raises:
        InvalidInputError: it is no model of XGBoost in the binary format.
        AlreadyExistsError: `folder` exists and is not empty.
        NotFoundError: there is no such model, or uv is not installed.
        ArtifactError: the environment cannot be built, the weights are damaged, or predict something else.
    """
    source = fetch(resolve(store, uri), settings.cache_folder)
    conf = read_info(source).flavors.get(XgboostFlavor.name)
    weights = None if conf is None else resolve_name(source, str(conf.get("data", "")))
    if weights is None or not is_binary(weights):
        raise InvalidInputError(f"{uri!r} is no model in XGBoost's old binary format; load it as it is.")
    until = time.monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="prefect-ml-convert-") as scratch:
        copy, told = Path(scratch) / "model", Path(scratch) / "told.json"
        shutil.copytree(source, copy)
        try:
            python, _ = build_environment(
                READS_BINARY, settings.cache_folder, also=(), python=None, builds=False, until=until
            )
            argv = [str(python), "-I", "-c", _SCRIPT, str(weights), str(copy / _NEW), str(told)]
            code, said = run_until(argv, env=kept_environment(), cwd=Path(scratch), until=until)
        except TimeoutError:
            raise ArtifactError(f"Converting {uri!r} took longer than {timeout:g} seconds; give it longer.") from None
        if code != 0:
            last = said.splitlines()[-1][:300] if code > 0 and said else how_it_ended(code)
            raise ArtifactError(
                f"XGBoost {next(iter(READS_BINARY.values()))} cannot read {weights.name!r} of {uri!r}: {last}"
            )
        _point_at(copy / FILE, _NEW)
        model = load_model(copy, origin=uri)
        _compare(model, json.loads(told.read_bytes()), uri)
        save_model(
            model.native,
            folder,
            input_example=model.input_example,
            signature=model.signature,
            metadata=model.info.metadata,
            run_id=model.info.run_id,
        )
    return folder


def _point_at(file: Path, data: str) -> None:
    content = yaml.safe_load(file.read_text())
    content["flavors"][XgboostFlavor.name] |= {"data": data, "model_format": "ubj"}
    file.write_text(yaml.safe_dump(content))


def _compare(model: LoadedModel, told: list[Any], uri: str) -> None:
    import numpy as np  # noqa: PLC0415 - only for a conversion

    rows, expected = (np.array(part, dtype="float64") for part in told)
    if not np.allclose(predict_matrix(model.native, rows), expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        raise ArtifactError(
            f"XGBoost {version('xgboost')} predicts something else than the release that read {uri!r}, so it was not "
            "converted; train the model again."
        )
