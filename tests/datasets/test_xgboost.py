"""A `DMatrix`: told by its shape, features, labels and rows, and by no more than XGBoost gives."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xgboost

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking.datasets.record import _describe

X = np.random.default_rng(0).random((500, 4))
Y = X[:, 0] > 0.5


def changed(**cells):
    """A copy whose first cell is another."""
    found = X.copy()
    found[0, 0] = cells["cell"]
    return found


def test_equal_data_have_equal_digests_and_what_changes_another():
    digest = _describe(xgboost.DMatrix(X, Y)).digest
    assert _describe(xgboost.DMatrix(X.copy(), Y)).digest == digest
    others = [
        xgboost.DMatrix(X[1:], Y[1:]),
        xgboost.DMatrix(X[:, 1:], Y),
        xgboost.DMatrix(X, ~Y),
        xgboost.DMatrix(X),
        xgboost.DMatrix(changed(cell=7.0), Y),
        xgboost.DMatrix(changed(cell=np.nan), Y),
        xgboost.DMatrix(X, Y, feature_names=list("abcd")),
        xgboost.DMatrix(X, Y, feature_types=["int"] * 4),
    ]
    assert len({digest, *(_describe(other).digest for other in others)}) == len(others) + 1


def test_rows_columns_and_types_are_told():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [True, False, True], "c": [0.5, 1.5, None]})
    dataset = _describe(xgboost.DMatrix(frame, [1, 2, 3], group=[2, 1])).dataset("d", "code", "{}")
    profile, schema = json.loads(dataset.profile), json.loads(dataset.schema)
    assert (profile["num_rows"], profile["num_columns"], profile["num_elements"]) == (3, 3, 9)
    columns = [(column["name"], column["type"]) for column in schema["mlflow_colspec"]]
    assert columns == [("a", "integer"), ("b", "boolean"), ("c", "float")]


def test_a_matrix_that_gives_no_rows_counts_by_its_shape_features_and_labels():
    matrix = xgboost.QuantileDMatrix(X, Y)
    found = _describe(matrix)
    assert (found.rows, found.columns_count) == (500, 4)
    assert found.digest == _describe(xgboost.QuantileDMatrix(changed(cell=0.5), Y)).digest
    assert found.digest != _describe(xgboost.QuantileDMatrix(X, ~Y)).digest


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (2, 3000), (3000, 1)])
def test_any_shape(shape):
    found = _describe(xgboost.DMatrix(np.ones(shape)))
    assert (found.rows, found.columns_count, found.unread) == (*shape, ())


def test_another_thing_of_the_library_is_refused():
    with pytest.raises(InvalidInputError, match="no DMatrix"):
        _describe(xgboost.XGBRegressor())
