"""Keyset paging: a page starts behind the sort values of the last item before it, so that every page costs the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, func, literal, or_

from prefect_ml.store.paging import check_page_size, decode_token, encode_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One expression to sort by, which is never NULL; `kind` is the Python type of its values."""

    expression: ColumnElement[Any]
    kind: type
    descending: bool = False


def missing_last(expression: ColumnElement[Any], kind: type, *, descending: bool = False) -> list[Term]:
    """Terms for an expression that may be NULL: in either direction, NULLs come last."""
    filled = func.coalesce(expression, literal(kind(), expression.type))
    return [Term(case((expression.is_(None), 1), else_=0), int), Term(filled, kind, descending)]


def fetch_page(
    connection: Connection,
    query: Select[Any],
    terms: Sequence[Term],
    *,
    search: object,
    max_results: int,
    page_token: str | None,
    limit: int = 50_000,
) -> tuple[list[Row[Any]], str | None]:
    """The rows of one page in the order of the terms, and the token of the next page, if there is one.

    Args:
        connection: what to read from.
        query: what to page through.
        terms: a total order; the last one is unique.
        search: what identifies the search, so that another's token is refused.
        max_results: rows of a page.
        page_token: from the page before.
        limit: the largest page.

    Raises:
        InvalidInputError: the size is out of bounds, or the token is none for this search.
    """
    check_page_size(max_results, limit)
    if page_token:
        query = query.where(_behind(terms, decode_token(search, page_token, [term.kind for term in terms])))
    sort = [term.expression.label(f"sort_{number}") for number, term in enumerate(terms)]
    order = [term.expression.desc() if term.descending else term.expression.asc() for term in terms]
    rows = list(connection.execute(query.add_columns(*sort).order_by(*order).limit(max_results + 1)))
    if len(rows) <= max_results:
        return rows, None
    rows.pop()
    return rows, encode_token(search, rows[-1][-len(terms) :])


def _behind(terms: Sequence[Term], values: Sequence[Any]) -> ColumnElement[bool]:
    """What comes behind the given sort values."""
    alternatives = []
    equal: list[ColumnElement[bool]] = []
    for term, value in zip(terms, values, strict=True):
        bound = literal(value, term.expression.type)
        beyond = term.expression < bound if term.descending else term.expression > bound
        alternatives.append(and_(*equal, beyond))
        equal.append(term.expression == bound)
    # Said once more for the first term alone, so that an index is entered at the right place.
    bound = literal(values[0], terms[0].expression.type)
    first = terms[0].expression <= bound if terms[0].descending else terms[0].expression >= bound
    return and_(first, or_(*alternatives))
