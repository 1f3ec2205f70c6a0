"""Scoring the rows of a table, and finding those that a model cannot score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from prefect_ml.errors import InvalidInputError, PrefectMLError, SignatureError
from prefect_ml.models.prediction_columns import prediction_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from prefect_ml.models.folder import LoadedModel
    from prefect_ml.scoring.features import Features

OnBadRows = Literal["fail", "quarantine"]

# What rows may bring about; anything else, such as no memory or no file, is none of theirs.
_OF_ROWS = (SignatureError, ValueError, TypeError, ArithmeticError, LookupError)
# How often a model is asked to find bad rows; each needs about two calls for each halving of the chunk.
_MOST_CALLS = 20_000
_LONGEST = 500


class BadRowsError(PrefectMLError):
    """The model cannot score some rows.

    Attributes:
        row: the index of the first of them in its table; None when it is not one of them.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class Scored(NamedTuple):
    """What became of a table.

    Attributes:
        good: indices of the rows that were scored, None for all.
        columns: the predictions for these.
        bad: index and reason of each row that could not be scored.
    """

    good: list[int] | None
    columns: Mapping[str, pa.Array]
    bad: list[tuple[int, str]]


def score_table(
    model: LoadedModel,
    features: Features,
    table: pa.Table,
    *,
    params: Mapping[str, Any] | None = None,
    name: str = "prediction",
    on_bad_rows: OnBadRows = "fail",
) -> Scored:
    """Predict for each row.

    Args:
        model: predicts for each row by that row alone.
        features: what it takes of the table.
        table: with at least the columns that `features` reads.
        params: inference parameters.
        name: of the column of predictions.
        on_bad_rows: whether rows that break the signature, or that the model raises for, are an error or set aside.

    Raises:
        BadRowsError: there are such rows; or the model raises for every row, however few it is given.
        InvalidInputError: it predicts something else than a value for each row.
    """

    def predict(part: pa.Table) -> Mapping[str, pa.Array]:
        data = features.of(part)
        try:
            predictions = model.predict(data, params)
        except PrefectMLError:
            raise
        except _OF_ROWS as error:
            raise _Raised(error) from error
        return prediction_columns(predictions, part.num_rows, name)

    try:
        return Scored(None, predict(table), [])
    except (SignatureError, _Raised) as error:
        bad = _bad_rows(predict, table, first_only=on_bad_rows == "fail")
        if on_bad_rows == "fail" or not bad:
            raise BadRowsError(bad[0][1] if bad else _words(error), bad[0][0] if bad else None) from error
        if len(bad) == table.num_rows > 1 and isinstance(error, _Raised):
            raise BadRowsError(f"the model fails for every row: {bad[0][1]}") from error
    aside = {index for index, _ in bad}
    good = [index for index in range(table.num_rows) if index not in aside]
    return Scored(good, predict(table.take(good)) if good else {}, bad)


class _Raised(Exception):  # noqa: N818 - it never leaves this module
    """A model raised for these rows."""


def _bad_rows(predict: Callable[[pa.Table], object], table: pa.Table, *, first_only: bool) -> list[tuple[int, str]]:
    """Halve what fails until single rows are left; none when it fails as a whole alone."""
    bad: list[tuple[int, str]] = []
    waiting = [(0, table.num_rows)]
    calls = 0
    while waiting:
        start, stop = waiting.pop()
        calls += 1
        if calls > _MOST_CALLS:
            raise BadRowsError(f"more than {len(bad)} rows cannot be scored; the first: {bad[0][1] if bad else ''}")
        try:
            predict(table.slice(start, stop - start))
        except (SignatureError, _Raised) as error:
            if stop - start == 1:
                bad.append((start, _words(error)))
                if first_only:
                    break
            else:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
    return bad


def _words(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, _Raised) else error
    text = str(cause) if isinstance(cause, InvalidInputError) else f"{type(cause).__name__}: {cause}"
    # The number in a table of one row says nothing; libraries add paragraphs of advice.
    text = text.replace(" in row 0", "").partition("\n")[0]
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
