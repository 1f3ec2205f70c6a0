"""Predicting from a bare matrix, where a model demonstrably says the same of it as of a table.

A scikit-learn model that was fitted on a table looks at the columns' names in each of its steps, which takes longer
than many a small model's arithmetic. The signature has compared the names already, so a copy that knows none may be
asked instead, where it is made of what treats both alike, or does so on the model's own input example.
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
_FITTED_NAMES = "feature_names_in_"
# Those that choose columns by their names, or hand the table on.
_BY_NAME = ("sklearn.compose", "sklearn.preprocessing._function_transformer")
# How scikit-learn's pipelines name a step that does nothing.
_NO_STEP = ("passthrough", None)
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


def matrix_by_construction(model: LoadedModel) -> Callable[[Any], Any] | None:
    """How to predict from an array of shape (rows, columns) in the signature's order, where no trial is needed.

    scikit-learn's own estimators make the same array of a table themselves, and look at its names only to compare them;
    those that choose columns, call a function of the user's, or predict tables are left out, and what holds estimators
    in another way than a pipeline. None for any other model.
    """
    if not _is_candidate(model) or not _makes_arrays(model.native):
        return None
    return _predict_by(model, _nameless(model.native))


def matrix_by_trial(model: LoadedModel) -> Callable[[Any], Any] | None:
    """The same, where the model predicts the same of its own input example in both ways, and warns of nothing."""
    example = model.input_example
    if not _is_candidate(model) or data_kind(example) != "frame" or not len(example):
        return None
    predict = _predict_by(model, _nameless(model.native))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            matrix = example[_names(model)].to_numpy(dtype=matrix_type(model))
            if all(_same(model.predict(example.iloc[:n]), predict(matrix[:n])) for n in {1, len(example)}):
                return predict
    except Exception as error:  # noqa: BLE001  whatever stands in the way of the short cut, the long way works
        _log.debug("Asked by tables, since a matrix would not do: %s", error)
    return None


def _is_candidate(model: LoadedModel) -> bool:
    names = _names(model)
    return (
        matrix_type(model) is not None
        and model.flavor.name == "sklearn"
        and list(getattr(model.native, _FITTED_NAMES, names)) == names
    )


def _names(model: LoadedModel) -> list[Any]:
    return [spec.name for spec in model.signature.inputs or ()] if model.signature is not None else []


def _predict_by(model: LoadedModel, native: Any) -> Callable[[Any], Any]:
    *transformers, last = _steps(native)
    transforms = [transformer.transform for transformer in transformers]

    def predict(rows: Any) -> Any:
        for transform in transforms:
            rows = transform(rows)
        return model.flavor.predict(last, rows, None)

    return predict


def _steps(estimator: Any) -> list[Any]:
    """The transformers of a pipeline and what predicts at its end.

    scikit-learn's own pipeline calls them one after the other as well, but first asks whether all are fitted, which
    takes as long as a small step; what is served was warmed up, so they are.
    """
    if type(estimator).__module__ != "sklearn.pipeline" or not hasattr(estimator, "steps"):
        return [estimator]
    *before, (_, last) = estimator.steps
    if last in _NO_STEP:
        return [estimator]
    transformers = [step for _, step in before if step not in _NO_STEP]
    return [part for step in transformers for part in _steps(step)] + _steps(last)


def _makes_arrays(estimator: Any) -> bool:
    module = type(estimator).__module__
    if not module.startswith("sklearn.") or module.startswith(_BY_NAME) or hasattr(estimator, "_sklearn_output_config"):
        return False
    if hasattr(estimator, "steps"):
        return all(step in _NO_STEP or _makes_arrays(step) for _, step in estimator.steps)
    return not any(
        hasattr(value, "fit") or isinstance(value, (list, dict)) for value in estimator.get_params(False).values()
    )


def _nameless(estimator: Any) -> Any:
    """A copy that shares what was fitted, and knows no column's name, neither itself nor the steps of a pipeline."""
    bare = copy.copy(estimator)
    if hasattr(bare, "steps"):
        bare.steps = [(name, step if step in _NO_STEP else _nameless(step)) for name, step in bare.steps]
    vars(bare).pop(_FITTED_NAMES, None)
    return bare


def _same(left: Any, right: Any) -> bool:
    kinds = {data_kind(left), data_kind(right)}
    return (
        kinds == {"array"} and left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())
    )
