"""Comparing the columns of two samples of a model's inputs and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ml.drift.measures import how_far
from prefect_ml.serving.inference_rows import INPUT, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where on a column counts as drifted: when its index, or its distance and that with confidence, is larger.

    Attributes:
        psi: population stability index.
        ks: statistic of Kolmogorov and Smirnov, which small shifts of no matter stay below, however certain.
        p_value: that its p-value must be below, divided by the number of columns (Bonferroni's correction).
        rows: fewer in a sample say nothing: with n rows on both sides and no drift at all, the index of ten bins is
            about 18 / n.
    """

    psi: float = 0.25
    ks: float = 0.2
    p_value: float = 0.01
    rows: int = 200


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """What was found of a column.

    Attributes:
        name: `input.<column>` or `output.<column>`.
        psi: population stability index; None where the column is missing or has no comparable type.
        ks: statistic of Kolmogorov and Smirnov, of numbers.
        p_value: of it.
        drifted: whether a bound is crossed, or the column is on one side alone.
        why: in words, "" when nothing is to be said.
    """

    name: str
    psi: float | None = None
    ks: float | None = None
    p_value: float | None = None
    drifted: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """What was found of a model.

    Attributes:
        columns: each, as in the log.
        reference_rows: of the reference.
        window_rows: of the window.
        too_few: why nothing was compared; "" when it was.
    """

    columns: Sequence[ColumnDrift]
    reference_rows: int
    window_rows: int
    too_few: str = ""

    @property
    def drifted(self) -> Sequence[ColumnDrift]:
        return [column for column in self.columns if column.drifted]


def compare(reference: pa.Table, window: pa.Table, bounds: Bounds) -> Drift:
    """Compare the inputs and predictions of two samples.

    Args:
        reference: what was usual: rows of the log, or a table whose columns have the model's own names.
        window: rows of the log.
        bounds: from where on it counts.
    """
    few = [f"the {what} has {table.num_rows}" for what, table in (("reference", reference), ("window", window))
           if table.num_rows < bounds.rows]  # fmt: skip
    if few:
        why = f"{' and '.join(few)} rows, of {bounds.rows} that are needed"
        return Drift([], reference.num_rows, window.num_rows, why)
    named = _as_in_log(reference, window.column_names)
    names = [name for name in dict.fromkeys([*named.column_names, *window.column_names]) if name.startswith(_PREFIXES)]
    found = [_compare(name, named, window, bounds, len(names)) for name in names]
    return Drift(found, reference.num_rows, window.num_rows)


_PREFIXES = (INPUT, OUTPUT)


def _as_in_log(reference: pa.Table, logged: Sequence[str]) -> pa.Table:
    """The reference with names as in the log; of a table that is none of the log, columns that it lacks are left."""
    if any(name.startswith(_PREFIXES) for name in reference.column_names):
        return reference
    known = {name.partition(".")[2]: name for name in logged if name.startswith(_PREFIXES)}
    shared = [name for name in reference.column_names if name in known]
    return reference.select(shared).rename_columns([known[name] for name in shared])


def _compare(name: str, reference: pa.Table, window: pa.Table, bounds: Bounds, columns: int) -> ColumnDrift:
    if name not in window.column_names:
        return ColumnDrift(name, drifted=True, why="it is not asked with any more")
    if name not in reference.column_names:
        return ColumnDrift(name, why="the reference lacks it")
    apart = how_far(reference.column(name), window.column(name))
    if apart is None:
        return ColumnDrift(name, why="its type is not compared")
    why = []
    if apart.psi > bounds.psi:
        why.append(f"its population stability index is above {bounds.psi:g}")
    sure = apart.p_value is not None and apart.p_value < bounds.p_value / columns
    if sure and apart.ks is not None and apart.ks > bounds.ks:
        why.append(f"its Kolmogorov-Smirnov distance is above {bounds.ks:g}")
    return ColumnDrift(name, *apart, drifted=bool(why), why=" and ".join(why))
