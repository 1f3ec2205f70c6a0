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


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A stretch of an ordered search: a query, and the terms that order its rows, the last of them unique."""

    query: Select[Any]
    terms: Sequence[Term]


def fetch_page(
    connection: Connection,
    parts: Sequence[Part],
    *,
    search: object,
    max_results: int,
    page_token: str | None,
    limit: int = 50_000,
) -> tuple[list[Row[Any]], str | None]:
    """The rows of one page, and the token of the next page, if there is one.

    Args:
        connection: what to read from.
        parts: the rows of one part come before those of the next; a part is asked when the page has room for it.
        search: what identifies the search, so that another's token is refused.
        max_results: rows of a page.
        page_token: from the page before.
        limit: the largest page.

    Raises:
        InvalidInputError: the size is out of bounds, or the token is none for this search.
    """
    check_page_size(max_results, limit)
    first, values = 0, None
    if page_token:
        first, values = decode_token(search, page_token, [[term.kind for term in part.terms] for part in parts])
    found: list[tuple[int, Row[Any]]] = []
    for number in range(first, len(parts)):
        statement = _statement(parts[number], values if number == first else None)
        found += [(number, row) for row in connection.execute(statement.limit(max_results + 1 - len(found)))]
        if len(found) > max_results:
            end, last = found[max_results - 1]
            token = encode_token(search, last[-len(parts[end].terms) :], end)
            return [row for _, row in found[:max_results]], token
    return [row for _, row in found], None


def _statement(part: Part, values: Sequence[Any] | None) -> Select[Any]:
    """The query of a part, its sort values added to the rows, from behind the given ones on."""
    query = part.query if values is None else part.query.where(_behind(part.terms, values))
    sort = [term.expression.label(f"sort_{number}") for number, term in enumerate(part.terms)]
    order = [term.expression.desc() if term.descending else term.expression.asc() for term in part.terms]
    return query.add_columns(*sort).order_by(*order)


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
