"""What is known of a data set, and the fields that it becomes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.entities import Dataset
from prefect_ml.models.schema import schema_to_json
from prefect_ml.store.input_names import MAX_LENGTHS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefect_ml.models.schema import Tensor


@dataclass(frozen=True, slots=True)
class Facts:
    """What a kind of data tells.

    Attributes:
        kind: in one word, which also names the data set when nothing else does.
        digest: of its shape, schema and sample.
        columns: of a table, each as MLflow's JSON of a column.
        tensors: of arrays.
        targets: the arrays that are to be predicted.
        rows: how many; None when unknown.
        columns_count: how many.
        elements: cells of a table, numbers of arrays; None when unknown.
        size: bytes in memory or on disk; None when unknown.
        more: further facts of the profile.
        unread: what could not be read, and so counts by name and type alone.
    """

    kind: str
    digest: str
    columns: Sequence[Mapping[str, Any]] | None = None
    tensors: Sequence[Tensor] | None = None
    targets: Sequence[Tensor] | None = None
    rows: int | None = None
    columns_count: int | None = None
    elements: int | None = None
    size: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    unread: Sequence[str] = ()

    def dataset(self, name: str, source_type: str, source: str) -> Dataset:
        """The data set, with MLflow's JSON of schema and profile.

        A schema that is too long for MLflow is left out; the profile tells how many columns there are.
        """
        schema = _json(self._schema())
        if len(schema) > MAX_LENGTHS["schema"]:
            schema = ""
        return Dataset(name, self.digest, source_type, source, schema, _json(self._profile()))

    def _schema(self) -> dict[str, Any] | None:
        if self.columns:
            return {"mlflow_colspec": list(self.columns)}
        if self.tensors:
            # MLflow keeps these two as JSON within JSON.
            features = _json(schema_to_json(tuple(self.tensors)))
            targets = _json(schema_to_json(tuple(self.targets))) if self.targets else None
            return {"mlflow_tensorspec": {"features": features, "targets": targets}}
        return None

    def _profile(self) -> dict[str, Any]:
        counts = {
            "num_rows": self.rows,
            "num_columns": self.columns_count,
            "num_elements": self.elements,
            "num_bytes": self.size,
        }
        return {key: value for key, value in counts.items() if value is not None} | dict(self.more)


def as_json(content: object) -> str:
    """The JSON of plain data; halves of surrogate pairs, as in names of odd files, are escaped."""
    try:
        return orjson.dumps(content, default=str).decode()
    except TypeError:
        return json.dumps(content, default=str)


def _json(content: object) -> str:
    return "" if content is None else as_json(content)
