"""What models predict for the rows of an evaluation set, batch by batch; kept in memory only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.folder import LoadedModel
from prefect_ml.models.schema import Tensor
from prefect_ml.registry.evaluation import FORMATS, EvaluationSet
from prefect_ml.registry.scores import Needs, alike

BATCH = 8192
MOST_ROWS = 5_000_000
MOST_GROUPS = 1000
MISSING = "(missing)"
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Labels and predictions, row by row.

    Attributes:
        truth: the label of each row.
        predicted: of each model, by its role, what it predicts for each row.
        groups: the names of the groups of rows.
        group: the group of each row, as its place in `groups`.
    """

    truth: NDArray[Any]
    predicted: Mapping[str, NDArray[Any]]
    groups: Sequence[str]
    group: NDArray[np.int64]


def predict_rows(
    path: Path,
    wanted: EvaluationSet,
    models: Mapping[str, LoadedModel],
    needs: Needs,
    *,
    positive: Any = None,
    column: str | None = None,
) -> Outcomes:
    """Let models predict for each row of a file.

    Args:
        path: the file.
        wanted: its specification.
        models: by role.
        needs: what the metric needs of a model.
        positive: the positive label, for scores and chances.
        column: the column that the rows are grouped by.

    Raises:
        InvalidInputError: the set is empty or too long, or lacks a column, or a model gives something else than asked.
        ArtifactError: the file cannot be read.
    """
    truth: list[NDArray[Any]] = []
    predicted: dict[str, list[NDArray[Any]]] = {role: [] for role in models}
    groups: dict[str, int] = {}
    group: list[NDArray[np.int64]] = []
    rows = 0
    for frame in _batches(path):
        if not len(frame):
            continue
        rows += len(frame)
        if rows > MOST_ROWS:
            raise InvalidInputError(f"The evaluation set has more than {MOST_ROWS} rows; take a sample of it.")
        labels, features = _split(frame, wanted)
        truth.append(labels)
        for role, model in models.items():
            predicted[role].append(_predict(model, features, labels, needs, positive))
        if column is not None:
            group.append(_grouped(frame, column, groups))
    if not rows:
        raise InvalidInputError("The evaluation set has no rows.")
    joined = {role: np.concatenate(parts) for role, parts in predicted.items()}
    return Outcomes(
        np.concatenate(truth), joined, list(groups), np.concatenate(group) if group else np.zeros(0, np.int64)
    )


def _batches(path: Path) -> Iterator[pd.DataFrame]:
    """The rows of a file, a bounded number at a time."""
    form = FORMATS[path.suffix]
    try:
        if form == "csv":
            with pd.read_csv(path, chunksize=BATCH) as chunks:
                yield from chunks
        elif form == "lines":
            with pd.read_json(path, lines=True, chunksize=BATCH) as lines:
                yield from lines
        else:
            for batch in _parquet(path) if form == "parquet" else _arrow(path):
                yield batch.to_pandas()
    except ImportError as error:
        raise ArtifactError(f"To read {path.suffix} files, install pyarrow ({error}).") from error
    except pd.errors.EmptyDataError:
        return


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - only for these files

    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=BATCH)


def _arrow(path: Path) -> Iterator[Any]:
    import pyarrow as pa  # noqa: PLC0415 - only for these files

    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
            parts = (reader.get_batch(number) for number in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            parts = iter(pa.ipc.open_stream(source))
        for part in parts:
            for start in range(0, part.num_rows, BATCH):
                yield part.slice(start, BATCH)


def _split(frame: pd.DataFrame, wanted: EvaluationSet) -> tuple[NDArray[Any], pd.DataFrame]:
    absent = [name for name in (wanted.label, *wanted.features) if name not in frame.columns]
    if absent:
        raise InvalidInputError(f"The evaluation set has no column {absent[0]!r}.")
    labels = frame[wanted.label]
    if labels.isna().any():
        raise InvalidInputError(f"{int(labels.isna().sum())} rows of the evaluation set have no label; remove them.")
    features = frame[list(wanted.features)] if wanted.features else frame.drop(columns=wanted.label)
    return labels.to_numpy(), features


def _predict(
    model: LoadedModel, features: pd.DataFrame, labels: NDArray[Any], needs: Needs, positive: Any
) -> NDArray[Any]:
    data: Any = features
    inputs = None if model.signature is None else model.signature.inputs
    if inputs and len(inputs) == 1 and isinstance(inputs[0], Tensor):
        data = features.to_numpy(dtype=inputs[0].dtype)
    if needs in ("score", "chance") and hasattr(model.native, "predict_proba"):
        fitted = data if model.signature is None else model.signature.enforce(data)
        found, classes = np.asarray(model.native.predict_proba(fitted)), np.asarray(model.native.classes_)
        chosen = _scored(found, classes, positive) if needs == "score" else _chances(found, classes, labels)
    else:
        chosen = np.asarray(model.predict(data))
        if chosen.ndim > 1 and chosen.size == len(features):
            chosen = chosen.reshape(len(features))
        if needs == "chance" and chosen.shape == (len(features),):
            chosen = np.where(alike(labels, 1 if positive is None else positive), chosen, 1.0 - chosen)
    if chosen.shape != (len(features),):
        raise InvalidInputError(
            f"A model gives an output of the shape {list(chosen.shape)} for {len(features)} rows; the metric needs one "
            "value a row."
        )
    return chosen


def _scored(found: NDArray[Any], classes: NDArray[Any], positive: Any) -> NDArray[Any]:
    at = np.flatnonzero(alike(classes, positive)) if positive is not None else np.arange(len(classes))[1:]
    if len(at) != 1:
        raise InvalidInputError(f"The model knows {len(classes)} labels; name the `positive` one, which it must know.")
    column: NDArray[Any] = found[:, at[0]]
    return column


def _chances(found: NDArray[Any], classes: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """What the model thought of the true label of each row; nothing of labels that it does not know."""
    chances = np.zeros(len(labels))
    for at, label in enumerate(classes):
        chances = np.where(alike(labels, label), found[:, at], chances)
    return chances


def _grouped(frame: pd.DataFrame, column: str, groups: dict[str, int]) -> NDArray[np.int64]:
    if column not in frame.columns:
        raise InvalidInputError(f"The evaluation set has no column {column!r} to slice it by.")
    values = frame[column]
    names = values.astype(str).where(values.notna(), MISSING).str.slice(0, _LONGEST_NAME)
    for name in names.unique():
        groups.setdefault(str(name), len(groups))
    if len(groups) > MOST_GROUPS:
        raise InvalidInputError(
            f"The column {column!r} has more than {MOST_GROUPS} values; slice by one with fewer, such as bins of it."
        )
    return np.asarray(names.map(groups), dtype=np.int64)
