"""From rows and records, as JSON has them, to what a model's signature takes.

Rows of plain numbers, text and booleans become a DataFrame in a few array operations. Whatever is not obviously right
goes to `Signature.enforce` as plain values instead, which converts it or names what is wrong with it; nothing is
accepted here that it would refuse.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import SignatureError
from prefect_ml.models.schema import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prefect_ml.models.signature import Signature

# The Python types that a column's values may have to need no closer look, and numpy's dtype for them.
_PLAIN = {
    "double": (frozenset((float, int)), "float64"),
    "long": (frozenset((int,)), "int64"),
    "boolean": (frozenset((bool,)), "bool"),
    "string": (frozenset((str,)), "str"),
}
# Below this a double holds every integer; the next one above it would be rounded to it.
_EXACT = 2.0**53
_SHOWN = 5
# The dtypes whose values another one holds without loss.
_EXACTLY = {
    "float64": frozenset({"float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32"}),
    "int64": frozenset({"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"}),
}


class Layout:
    """What the inputs of a signature look like from outside: columns, tensors, or unknown.

    Args:
        signature: of the model; None when it does not say what it takes.
        as_matrix: whether rows that are plain numbers of one type become an array instead of a DataFrame.
    """

    def __init__(self, signature: Signature | None, *, as_matrix: bool = False) -> None:
        self._as_matrix = as_matrix
        inputs = () if signature is None or signature.inputs is None else signature.inputs
        self.columns = tuple(spec for spec in inputs if isinstance(spec, Column))
        self.tensors = bool(inputs) and not self.columns
        self.names = [spec.name for spec in inputs if spec.name is not None]
        self._types = [c.type if isinstance(c.type, str) and c.type in _PLAIN else None for c in self.columns]

    @property
    def known(self) -> bool:
        return self.tensors or bool(self.columns)

    def of_rows(self, labels: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Any:
        """The data of equally long rows below these labels.

        Raises:
            SignatureError: two columns have the same label.
        """
        if labels == self.names and (frame := self._frame(rows)) is not None:
            return frame
        if self.known and not self.names:
            return rows
        if len(set(labels)) < len(labels):
            twice = [str(label)[:60] for label, count in Counter(labels).items() if count > 1]
            raise SignatureError(f"The data has columns of the same name ({', '.join(twice[:_SHOWN])}); rename them.")
        if self.tensors or not rows:
            columns = zip(*rows, strict=True) if rows else ([] for _ in labels)
            return dict(zip(labels, map(list, columns), strict=True))
        return [dict(zip(labels, row, strict=True)) for row in rows]

    def of_records(self, records: Sequence[Mapping[str, Any]]) -> Any:
        """The data of objects that each are a row.

        Raises:
            SignatureError: the model takes no columns by name, and the keys differ from object to object.
        """
        if self.columns and self.names and (frame := self._frame_of_records(records)) is not None:
            return frame
        if not self.columns or not self.names or not records:
            labels = list(records[0]) if records else []
            odd = next((i for i, record in enumerate(records) if record.keys() != set(labels)), None)
            if odd is not None:
                raise SignatureError(f"Record {odd} has other keys than the first; give all the same.")
            return self.of_rows(labels, [[record[label] for label in labels] for record in records])
        return records

    def of_columns(self, data: Mapping[str, Any]) -> Any:
        """The data of an object whose values are columns, or a single row."""
        if self.columns and all(isinstance(data.get(str(name)), list) for name in self.names):
            columns = [data[str(name)] for name in self.names]
            equal = len({len(column) for column in columns}) == 1
            frame = self._frame([list(row) for row in zip(*columns, strict=True)]) if equal else None
            return data if frame is None else frame
        return data

    def of_table(self, table: Any) -> Any:
        """The array of an Arrow table whose columns are those of the signature, as they stand and without nulls.

        None where there is no such array, or the model wants a table.
        """
        if not self._as_matrix or table.column_names != self.names:
            return None
        dtype = _PLAIN[str(self._types[0])][1]
        if any(str(column.type).replace("double", "float64") != dtype or column.null_count for column in table.columns):
            return None
        import numpy as np  # noqa: PLC0415 - only where arrays are made

        return np.column_stack([column.to_numpy() for column in table.columns])

    def of_tensors(self, tensors: Mapping[str, Any]) -> Any:
        """The data of arrays by name: of columns, each of shape (rows,) or (rows, 1), or a single (rows, columns).

        Raises:
            SignatureError: the model has columns, and these arrays are none.
        """
        if not self.columns:
            return dict(tensors) if self.names or len(tensors) != 1 else next(iter(tensors.values()))
        names = self._keys or [str(at) for at in range(len(self.columns))]
        alone = next(iter(tensors.values()))
        if (
            len(tensors) == 1
            and alone.shape[1:] == (len(names),)
            and (len(names) > 1 or next(iter(tensors)) not in names)
        ):
            columns = {name: alone[:, at] for at, name in enumerate(names)}
        else:
            columns = {name: _flat(array, name) for name, array in tensors.items()}
        if len({len(column) for column in columns.values()}) > 1:
            raise SignatureError("The columns have different numbers of rows; send one value of each for a row.")
        if self._as_matrix and columns.keys() == set(names):
            dtype = _PLAIN[str(self._types[0])][1]
            if all(column.dtype.name in _EXACTLY[dtype] for column in columns.values()):
                import numpy as np  # noqa: PLC0415 - only where arrays are made

                return np.column_stack([columns[name] for name in names]).astype(dtype, copy=False)
        import pandas as pd  # noqa: PLC0415 - only for a model that takes tables

        return pd.DataFrame(columns)

    def _frame_of_records(self, records: Sequence[Mapping[str, Any]]) -> Any:
        try:
            return self._frame([[record[name] for name in self._keys] for record in records])
        except KeyError:
            return None

    @functools.cached_property
    def _keys(self) -> list[str]:
        return [str(name) for name in self.names]

    @functools.cached_property
    def _index(self) -> Any:
        import pandas as pd  # noqa: PLC0415 - only for a model that takes tables

        return pd.Index(self.names)

    def _frame(self, rows: Sequence[Sequence[Any]]) -> Any:
        """A DataFrame of rows in the order of the signature, or None where a closer look is needed."""
        if not rows or not self.columns or None in self._types:
            return None
        if len(set(self._types)) == 1 and self._types[0] in ("double", "long"):
            block = _array(itertools.chain.from_iterable(rows), str(self._types[0]))
            parts = None if block is None else block.reshape(len(rows), len(self.names))
        else:
            parts = self._parts(rows)
        if parts is None or (self._as_matrix and not isinstance(parts, dict)):
            return parts
        import pandas as pd  # noqa: PLC0415 - only for a model that takes tables

        if isinstance(parts, dict):
            frame = pd.DataFrame(parts)
            frame.columns = self._index
            return frame
        return pd.DataFrame(parts, columns=self._index)

    def _parts(self, rows: Sequence[Sequence[Any]]) -> dict[int, Any] | None:
        parts = {}
        for position, (values, type_) in enumerate(zip(zip(*rows, strict=True), self._types, strict=True)):
            parts[position] = _array(values, str(type_))
            if parts[position] is None:
                return None
        return parts


def _flat(array: Any, name: str) -> Any:
    if array.ndim == 1 or array.shape[1:] == (1,):
        return array.reshape(-1)
    raise SignatureError(f"Column {name[:60]!r} has the shape {list(array.shape)}; send one value for each row.")


def _array(values: Iterable[Any], type_: str) -> Any:
    """The values as an array, or None when one of them needs a closer look."""
    values = list(values)
    allowed, dtype = _PLAIN[type_]
    found = set(map(type, values))
    if not found <= allowed:
        return None
    if type_ == "string":
        return values
    import numpy as np  # noqa: PLC0415 - only where arrays are made

    try:
        array = np.array(values, dtype=dtype)
    except OverflowError:
        return None
    if type_ == "double" and int in found and not np.abs(array).max() < _EXACT:
        return None
    return array
