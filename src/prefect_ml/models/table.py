"""Fitting tables (frames, dicts of columns, lists of rows) to the columns of a signature."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import SignatureError
from prefect_ml.models.assembly import make_frame
from prefect_ml.models.casts import cast_many
from prefect_ml.models.column_order import in_order
from prefect_ml.models.columnar import is_columnar, to_list
from prefect_ml.models.frames import Glance
from prefect_ml.models.infer import data_kind
from prefect_ml.models.series import fit_series, fit_values
from prefect_ml.models.values import Mismatch

if TYPE_CHECKING:
    from prefect_ml.models.schema import Column

_SHOWN = 5


class Table:
    """The columns of a signature, ready to fit data to them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._named = columns[0].name is not None
        self._bare = len(columns) == 1 and not self._named
        self._names = [column.name for column in columns]

    @functools.cached_property
    def _glance(self) -> Glance:
        return Glance(self._columns)

    def fit(self, data: Any) -> Any:
        """A DataFrame with exactly these columns, the same object when it fits already.

        Without pandas installed, a dict of lists; for a single column without a name, a list. Columns that
        the signature does not know are dropped, as MLflow does.

        Raises:
            SignatureError: a column is missing, or a value does not fit without loss; up to 5 columns are
                named.
        """
        kind = data_kind(data)
        if kind == "series":
            data, kind = data.to_frame(), "frame"
        if kind == "frame":
            return self._fit_frame(data)
        if kind == "array":
            data = data.tolist()
        elif self._bare and not isinstance(data, Mapping):
            # Values without a name are no table: a function that was shown a list gets a list.
            values = list(data) if isinstance(data, (list, tuple)) else [data]
            fitted = _each(fit_values, self._columns, [values])[0]
            return fitted if isinstance(data, (list, tuple)) else fitted[0]
        columns, length = self._columns_of(data)
        fitted = _each(fit_values, self._columns, columns)
        if importlib.util.find_spec("pandas") is None:
            return dict(zip(self._names if self._named else range(len(fitted)), fitted, strict=True))
        return self._frame_of(fitted, length)

    def _fit_frame(self, frame: Any) -> Any:
        if not self._named or frame.columns.tolist() != self._names:
            frame = self._select(frame)
        dtypes = frame.dtypes.tolist()
        odd = self._glance.doubtful(frame, dtypes)
        if not odd:
            return frame
        numeric = {i: want for i in odd if (want := self._glance.numeric(i)) is not None}
        frame, cast = cast_many(frame, dtypes, numeric)
        odd = [i for i in odd if i not in cast]
        before = [frame.iloc[:, i] for i in odd]
        after = _each(fit_series, [self._columns[i] for i in odd], before)
        changed = {i: new for i, old, new in zip(odd, before, after, strict=True) if new is not old}
        if not changed:
            return frame
        import pandas as pd  # noqa: PLC0415 - a frame came in, so it is there

        parts = [changed[i] if i in changed else frame.iloc[:, i] for i in range(len(dtypes))]
        result = pd.concat(parts, axis=1)
        result.columns = frame.columns
        return result

    def _select(self, frame: Any) -> Any:
        if not self._named:
            if len(frame.columns) < len(self._columns):
                raise SignatureError(f"expected {len(self._columns)} columns, got {len(frame.columns)}.")
            return frame.iloc[:, : len(self._columns)]
        if frame.columns.nlevels > 1:
            raise SignatureError("The data has columns of several levels; give them plain names.")
        labels = frame.columns.tolist()
        if len(set(labels)) < len(labels):
            twice = sorted({str(label) for label in labels if labels.count(label) > 1})
            raise SignatureError(f"The data has columns of the same name ({', '.join(twice)}); rename them.")
        place = {label: position for position, label in enumerate(labels)}
        keys = self._keys(place)
        absent = [name for name, key in zip(self._names, keys, strict=True) if key is None]
        optional = [c.name for c in self._columns if c.name in absent and not c.required]
        self._refuse_missing([name for name in absent if name not in optional], labels)
        if optional:
            frame = frame.assign(**{str(name): None for name in optional})
            place = {label: position for position, label in enumerate(frame.columns.tolist())}
            keys = self._keys(place)
        return in_order(frame, [place[key] for key in keys], self._index(frame.columns))

    def _index(self, columns: Any) -> Any:
        """The names as an Index like that of some columns."""
        index = self._own_index
        if columns.name is not None:
            index = index.rename(columns.name)
        return index if index.dtype == columns.dtype or columns.dtype != "object" else index.astype("object")

    @functools.cached_property
    def _own_index(self) -> Any:
        import pandas as pd  # noqa: PLC0415 - a frame came in, so it is there

        return pd.Index(self._names)

    def _keys(self, labels: Iterable[Any]) -> list[Any]:
        """Each column's label in the data; a numbered one also answers to its text, as in JSON."""
        known = labels if isinstance(labels, Mapping) else set(labels)
        return [name if name in known else (str(name) if str(name) in known else None) for name in self._names]

    def _refuse_missing(self, missing: Sequence[Any], got: Sequence[Any]) -> None:
        if missing:
            names = ", ".join(repr(name) for name in missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
            have = ", ".join(repr(name) for name in list(got)[:_SHOWN]) + (", ..." if len(got) > _SHOWN else "")
            raise SignatureError(
                f"The data lacks the column{'s' * (len(missing) > 1)} {names}; it has {have or 'none'}."
            )

    def _columns_of(self, data: Any) -> tuple[list[Sequence[Any]], int]:
        """Plain data by column, and the number of rows."""
        if isinstance(data, Mapping):
            return self._from_mapping(data)
        rows = data if isinstance(data, (list, tuple)) else [data]
        if rows and all(isinstance(row, Mapping) for row in rows) and self._named:
            labels = list(dict.fromkeys(key for row in rows for key in row))
            keys = self._keys(labels)
            required = zip(self._columns, keys, strict=True)
            self._refuse_missing([column.name for column, key in required if key is None and column.required], labels)
            return [[row.get(key) for row in rows] for key in keys], len(rows)
        if self._named and not (len(self._columns) == 1 and not any(isinstance(row, (list, tuple)) for row in rows)):
            wanted = ", ".join(repr(name) for name in self._names[:_SHOWN]) + ", ..." * (len(self._names) > _SHOWN)
            raise SignatureError(f"The model takes columns by name ({wanted}); give a table or dicts with these names.")
        return self._from_rows(rows), len(rows)

    def _from_mapping(self, data: Mapping[Any, Any]) -> tuple[list[Sequence[Any]], int]:
        if not self._named:
            raise SignatureError("The model takes columns by position; give a list of rows, not a dict.")
        keys = self._keys(data)
        required = zip(self._columns, keys, strict=True)
        self._refuse_missing([column.name for column, key in required if key is None and column.required], list(data))
        values = [_plain(data[key]) if key is not None else None for key in keys]
        given = [value for value in values if value is not None]
        nested = any(not isinstance(column.type, str) for column in self._columns)
        if nested or not all(isinstance(value, (list, tuple)) for value in given):
            return [[value] for value in values], 1
        lengths = {len(value) for value in given}
        if len(lengths) > 1:
            raise SignatureError(f"The columns have different lengths ({', '.join(map(str, sorted(lengths)))}).")
        length = lengths.pop() if lengths else 0
        return [[None] * length if value is None else value for value in values], length

    def _from_rows(self, rows: Sequence[Any]) -> list[Sequence[Any]]:
        if len(self._columns) == 1 and not isinstance(self._columns[0].type, str):
            return [list(rows)]
        cells = [row if isinstance(row, (list, tuple)) else [row] for row in rows]
        short = next((len(row) for row in cells if len(row) < len(self._columns)), None)
        if short is not None:
            raise SignatureError(f"expected {len(self._columns)} columns, got {short}.")
        return [[row[i] for row in cells] for i in range(len(self._columns))]

    def _frame_of(self, fitted: Sequence[Sequence[Any]], length: int) -> Any:
        frame, wrong = make_frame(self._columns, fitted, length)
        _refuse([_wrong(position, self._columns[position], mismatch) for position, mismatch in wrong.items()])
        frame.columns = self._names if self._named else range(len(fitted))
        return frame


def _each(fitter: Callable[[Column, Any], Any], columns: Sequence[Column], data: Sequence[Any]) -> list[Any]:
    """Fit column by column; all that do not fit are named in one error."""
    fitted, wrong = [], []
    for position, (column, values) in enumerate(zip(columns, data, strict=True)):
        try:
            fitted.append(fitter(column, values))
        except Mismatch as mismatch:
            wrong.append(_wrong(position, column, mismatch))
    _refuse(wrong)
    return fitted


def _wrong(position: int, column: Column, mismatch: Mismatch) -> str:
    return f"column {position if column.name is None else column.name!r}: {mismatch}"


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more columns" if len(wrong) > _SHOWN else ""
        raise SignatureError("; ".join(wrong[:_SHOWN]) + more)


def _plain(value: Any) -> Any:
    if is_columnar(value):
        return to_list(value)
    return value.tolist() if data_kind(value) in ("array", "series") else value
