"""Predicting from a bare matrix, where a model demonstrably says the same of it as of a table.

A scikit-learn model that was fitted on a table looks at the columns' names in each of its steps, which takes longer
than many a small model's arithmetic. The signature has compared the names already, so a copy that knows none may be
asked instead. Whether it may is not reasoned but tried, on the model's own input example: it must predict the same,
bit by bit, and warn of nothing.
"""

from __future__ import annotations

import copy
import logging
import warnings
from typing import TYPE_CHECKING, Any

from prefect_ml.models.infer import data_kind
from prefect_ml.models.schema import Column

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect_ml.models.folder import LoadedModel

_log = logging.getLogger("prefect_ml.serving")
_NAMES = "feature_names_in_"
_MATRIX_TYPES = {"double": "float64", "long": "int64"}


def matrix_type(model: LoadedModel) -> str | None:
    """The dtype of the matrix that a model's table is, "float64" or "int64"; None when it is none."""
    signature = model.signature
    if signature is None or signature.inputs is None or signature.params:
        return None
    columns = [spec for spec in signature.inputs if isinstance(spec, Column)]
    types = {str(column.type) for column in columns}
    if len(columns) != len(signature.inputs) or len(types) != 1 or any(column.name is None for column in columns):
        return None
    return _MATRIX_TYPES.get(types.pop())


def matrix_predict(model: LoadedModel) -> Callable[[Any], Any] | None:
    """How to predict from an array of shape (rows, columns) in the signature's order, or None where it must be a table.

    What is returned gives what `model.predict` gives for a table of the same numbers.
    """
    dtype = matrix_type(model)
    example = model.input_example
    if dtype is None or model.flavor.name != "sklearn" or data_kind(example) != "frame" or not len(example):
        return None
    names = [spec.name for spec in model.signature.inputs or ()] if model.signature is not None else []
    if list(getattr(model.native, _NAMES, names)) != names:
        return None
    nameless = _nameless(model.native)

    def predict(rows: Any) -> Any:
        return model.flavor.predict(nameless, rows, None)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            matrix = example[names].to_numpy(dtype=dtype)
            if all(_same(model.predict(example.iloc[:n]), predict(matrix[:n])) for n in {1, len(example)}):
                return predict
    except Exception as error:  # noqa: BLE001  whatever stands in the way of the short cut, the long way works
        _log.debug("Asked by tables, since a matrix would not do: %s", error)
    return None


def _nameless(estimator: Any) -> Any:
    """A copy that shares what was fitted, and knows no column's name, neither itself nor the steps of a pipeline."""
    bare = copy.copy(estimator)
    if hasattr(bare, "steps"):
        bare.steps = [(name, _nameless(step)) for name, step in bare.steps]
    vars(bare).pop(_NAMES, None)
    return bare


def _same(left: Any, right: Any) -> bool:
    kinds = {data_kind(left), data_kind(right)}
    return (
        kinds == {"array"} and left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())
    )
