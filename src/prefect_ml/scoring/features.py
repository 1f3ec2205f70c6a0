"""From the columns of a table to what a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.schema import Column, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from prefect_ml.models.signature import Signature

_SHOWN = 5


class Features:
    """Which columns of a table a model takes, and how.

    Args:
        signature: of the model; None when it has none.
        schema: of the table.
        named: the columns that the model takes, in this order, where its signature names none; all by default.

    Attributes:
        columns: the names of the columns that are read for it.

    Raises:
        InvalidInputError: the table lacks a column.
    """

    def __init__(self, signature: Signature | None, schema: pa.Schema, named: Sequence[str] | None = None) -> None:
        inputs = () if signature is None or signature.inputs is None else signature.inputs
        self._specs = {str(spec.name): spec for spec in inputs if spec.name is not None}
        self._tensor = next((s for s in inputs if isinstance(s, Tensor) and s.name is None), None)
        if self._specs:
            optional = {n for n, s in self._specs.items() if isinstance(s, Column) and not s.required}
            wanted = [name for name in self._specs if name in schema.names or name not in optional]
        else:
            wanted = list(schema.names if named is None else named)
        missing = [name for name in wanted if name not in schema.names]
        if missing:
            shown = ", ".join(map(repr, missing[:_SHOWN])) + ", …" * (len(missing) > _SHOWN)
            raise InvalidInputError(
                f"The model takes {shown}, which the data lack; they have {', '.join(map(repr, schema.names[:50]))}."
            )
        self.columns = wanted

    def of(self, table: pa.Table) -> Any:
        """The model's data of a table's rows: a DataFrame, or arrays for a model of tensors."""
        if self._tensor is not None:
            return _matrix(table.select(self.columns), self._tensor.dtype)
        tensors = {name: spec for name, spec in self._specs.items() if isinstance(spec, Tensor)}
        if tensors:
            return {name: _matrix(table.select([name]), spec.dtype) for name, spec in tensors.items()}
        for name in self.columns:
            spec = self._specs.get(name)
            if isinstance(spec, Column):
                table = table.set_column(table.column_names.index(name), name, _typed(table.column(name), spec.type))
        frame = table.select(self.columns).to_pandas()
        frame.columns = [self._label(name) for name in self.columns]
        return frame

    def _label(self, name: str) -> Any:
        spec = self._specs.get(name)
        return name if spec is None else spec.name


def _typed(values: pa.ChunkedArray, type_: Any) -> pa.ChunkedArray:
    """Values of another kind, as text of a CSV file, in the type that the model takes where each of them reads so.

    Else they stay as they are, for the signature to name what is wrong with them.
    """
    import pyarrow as pa  # noqa: PLC0415 - only those who score pay for its import

    wanted = {
        "boolean": pa.bool_(),
        "integer": pa.int32(),
        "long": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "datetime": pa.timestamp("us"),
    }
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    target = wanted.get(type_) if isinstance(type_, str) else None
    source = values.type
    foreign = pa.types.is_string(source) or pa.types.is_large_string(source) or pa.types.is_string_view(source)
    foreign = foreign or pa.types.is_decimal(source) or pa.types.is_date(source) or pa.types.is_null(source)
    if target is None or not foreign:
        return values
    try:
        return values.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return values


def _matrix(table: pa.Table, dtype: str) -> Any:
    """An array with a row for each row: of a single column of lists their stack, else of the columns side by side."""
    import numpy as np  # noqa: PLC0415 - only those who score pay for its import
    import pyarrow as pa  # noqa: PLC0415

    [first, *more] = table.columns
    if not more:
        nested = pa.types.is_list(first.type) or pa.types.is_fixed_size_list(first.type)
        values = np.asarray(first.to_pylist() if nested else first.to_numpy())
    else:
        values = np.column_stack([column.to_numpy() for column in table.columns])
    try:
        return values.astype(dtype, casting="same_kind" if values.dtype.kind == np.dtype(dtype).kind else "unsafe")
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"The columns cannot be an array of {dtype}: {error}.") from error
