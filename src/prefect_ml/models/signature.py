"""A model's signature: what it takes and gives, inferred from examples and enforced on requests."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from prefect_ml.errors import InvalidInputError, SignatureError
from prefect_ml.models.infer import infer_params
from prefect_ml.models.inference import as_plain, schema_from
from prefect_ml.models.schema import (
    ArrayType,
    Column,
    Param,
    Schema,
    Tensor,
    param_from_json,
    param_to_json,
    schema_from_json,
    schema_to_json,
)
from prefect_ml.models.table import Table
from prefect_ml.models.tensors import fit_tensors
from prefect_ml.models.values import Mismatch, fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Signature:
    """Columns or tensors of the input and the output, and inference parameters; None where it is unknown."""

    inputs: Schema | None = None
    outputs: Schema | None = None
    params: tuple[Param, ...] = ()

    @classmethod
    def infer(cls, inputs: Any, outputs: Any = None, params: Mapping[str, Any] | None = None) -> Signature:
        """The signature of example data, or of types; an integer column can hold no nulls later, unless one is shown.

        Data is a table of pandas, polars or Arrow, an array or a dict of arrays, a dict, a list, a value, or objects
        of a pydantic model or a data class. A type is such a class, a typed dict, or a hint such as `list[float]`.

        Raises:
            SignatureError: some of it has no type that a signature can name.
        """
        return cls(
            inputs=None if inputs is None else schema_from(inputs),
            outputs=None if outputs is None else schema_from(outputs),
            params=infer_params(params or {}),
        )

    def enforce(self, data: Any) -> Any:
        """The data as the model takes it: the same object when it fits, else reordered and converted.

        Raises:
            SignatureError: it does not fit; the message names the column, what was expected and what came.
        """
        if self.inputs is None:
            return data
        data = as_plain(data)
        if self._table is not None:
            return self._table.fit(data)
        return fit_tensors(cast("Sequence[Tensor]", self.inputs), data)

    def enforce_params(self, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """All declared parameters, given ones fitted, the rest by default; unknown ones are dropped."""
        given = params or {}
        return {param.name: _fit_param(param, given.get(param.name, param.default)) for param in self.params}

    def to_mlmodel(self) -> dict[str, str | None]:
        """The mapping below `signature` in an MLmodel file."""
        return {
            "inputs": None if self.inputs is None else json.dumps(schema_to_json(self.inputs)),
            "outputs": None if self.outputs is None else json.dumps(schema_to_json(self.outputs)),
            "params": json.dumps([param_to_json(param) for param in self.params]) if self.params else None,
        }

    @classmethod
    def from_mlmodel(cls, data: Mapping[str, Any]) -> Signature:
        """Read what `to_mlmodel` or MLflow wrote.

        Raises:
            InvalidInputError: it is no signature.
        """
        try:
            inputs, outputs, params = (_parsed(data.get(part)) for part in ("inputs", "outputs", "params"))
            return cls(
                inputs=schema_from_json(inputs) if inputs else None,
                outputs=schema_from_json(outputs) if outputs else None,
                params=tuple(param_from_json(param) for param in params or ()),
            )
        except InvalidInputError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"The signature of this MLmodel file cannot be read ({error!r}).") from error

    @functools.cached_property
    def _table(self) -> Table | None:
        columns = [column for column in self.inputs or () if isinstance(column, Column)]
        return Table(columns) if columns else None


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _fit_param(param: Param, value: Any) -> Any:
    try:
        if param.shape is None or value is None:
            return fit(value, param.type, required=param.default is not None)
        return fit(value, ArrayType(param.type))
    except Mismatch as mismatch:
        raise SignatureError(f"parameter {param.name!r}: {mismatch}") from mismatch
