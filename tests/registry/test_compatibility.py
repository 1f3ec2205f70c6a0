import pytest

from prefect_ml.models.schema import Column, Param, Tensor
from prefect_ml.models.signature import Signature
from prefect_ml.registry.compatibility import incompatibilities

OUT = (Column("double", "y"),)
OLD = Signature((Column("long", "a"), Column("float", "b", required=False)), OUT)


@pytest.mark.parametrize(
    "inputs",
    [
        OLD.inputs,
        (Column("long", "a"),),
        (Column("float", "b", required=False), Column("long", "a", required=False)),
        (Column("long", "a"), Column("double", "b", required=False)),
        (*OLD.inputs, Column("string", "c", required=False)),
        None,
    ],
)
def test_what_accepts_every_old_request_is_compatible(inputs):
    assert incompatibilities(OLD, Signature(inputs, OUT)) == []


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ((*OLD.inputs, Column("string", "c")), OUT, "new column 'c' is required"),
        ((Column("string", "a"),), OUT, "'a' was long and is now string"),
        ((Column("integer", "a"),), OUT, "'a' was long and is now integer"),
        ((Column("float", "b"),), OUT, "may no longer be missing"),
        (OLD.inputs, (Column("string", "y"),), "the output was double and is now string"),
        ((Tensor("float64", (-1, 2)),), OUT, "the input was long, float"),
    ],
)
def test_what_breaks_a_client_is_named(inputs, outputs, words):
    assert words in incompatibilities(OLD, Signature(inputs, outputs))[0]


def test_tensors_may_become_freer_but_not_narrower():
    fixed, free = Signature((Tensor("float64", (5, 2)),), OUT), Signature((Tensor("float64", (-1, 2)),), OUT)
    assert incompatibilities(fixed, free) == []
    assert incompatibilities(free, fixed)


def test_a_parameter_that_went_is_named():
    old = Signature(OLD.inputs, OUT, (Param("threshold", "double", 0.5),))
    assert "threshold" in incompatibilities(old, OLD)[0]
