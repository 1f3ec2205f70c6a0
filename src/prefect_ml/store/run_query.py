"""The query of a search for runs, shaped so that it starts from the table that leaves least to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, literal, select

from prefect_ml.store.compare import compare, compare_indexed, in_view, one_of
from prefect_ml.store.input_tables import CONTEXT, input_tags, inputs
from prefect_ml.store.keyset import Part, Term, missing_last
from prefect_ml.store.tables import latest_metrics, metric_keys, params, runs, tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Dialect, Select

    from prefect_ml.entities import ViewType
    from prefect_ml.query import Comparison, OrderBy

_ATTRIBUTES: dict[str, tuple[ColumnElement[Any], type]] = {
    "run_id": (runs.c.run_id, str),
    "run_name": (runs.c.name, str),
    "status": (runs.c.status, str),
    "user_id": (runs.c.user_id, str),
    "artifact_uri": (runs.c.artifact_uri, str),
    "start_time": (runs.c.start_time, int),
    "end_time": (runs.c.end_time, int),
}
_PAIRS = {"param": params, "tag": tags}
_NEWEST = (Term(runs.c.start_time, int, descending=True), Term(runs.c.run_id, str))

# SQLite knows nothing of how common a value is. When an index finds at most so many runs, a search starts from them;
# when it finds more, a page is full before so many others have been looked at. Of N runs, M of which match, a page of
# 100 is found among 100 N / M; that is as many as M for some three thousand of a hundred thousand, and another
# condition makes it more.
_FEW = 4000
_BY_INDEX = ("=", "<", "<=", ">", ">=")


def run_parts(
    connection: Connection,
    experiments: Sequence[int],
    view_type: ViewType,
    comparisons: Sequence[Comparison],
    order: Sequence[OrderBy],
) -> list[Part]:
    """The runs of experiments that meet all comparisons, in order; the newest first among equals."""
    conditions, few = _conditions(connection, comparisons)
    by_metric = bool(order) and order[0].entity == "metric"
    experiment: ColumnElement[int] = runs.c.experiment
    if connection.dialect.name == "sqlite" and (few or by_metric):
        # As an expression it has no index, and SQLite starts from the other one.
        experiment = experiment + literal(0)
    query = select(runs).select_from(runs).where(one_of(experiment, experiments))
    query = query.where(*in_view(runs.c.lifecycle_stage, view_type), *conditions)
    return _parts_by_metric(query, order, few=few) if by_metric else [Part(*_ordered(query, order, 0))]


def _conditions(connection: Connection, comparisons: Sequence[Comparison]) -> tuple[list[ColumnElement[bool]], bool]:
    """What comparisons ask of a run, and whether one of them leaves few runs."""
    conditions: list[ColumnElement[bool]] = []
    few = False
    # Equal values first: they are counted at less cost, and one comparison that leaves few runs is enough.
    for given in sorted(comparisons, key=lambda each: each.operator != "="):
        if given.entity == "attribute":
            conditions.append(compare(connection.dialect, _ATTRIBUTES[given.key][0], given.operator, given.value))
            continue
        run, matching = _matching(connection.dialect, given)
        if not few and _is_few(connection, given, matching):
            few = True
            conditions.append(runs.c.id.in_(matching))
        else:
            if given.entity == "dataset":
                matching = _using(connection.dialect, given, of_a_run=True)
            conditions.append(matching.where(run == runs.c.id).correlate(runs).exists())
    return conditions, few


def _matching(dialect: Dialect, given: Comparison) -> tuple[ColumnElement[int], Select[Any]]:
    """The numbers of runs that meet a comparison; one on a key that a run lacks does not hold, nor does one on NaN."""
    if given.entity == "metric":
        latest = latest_metrics.c
        holds = compare(dialect, latest.value, given.operator, given.value)
        return latest.run, select(latest.run).where(latest.key == _number(given.key), latest.is_nan.is_(False), holds)
    if given.entity == "dataset":
        return inputs.c.run, _using(dialect, given)
    pairs = _PAIRS[given.entity].c
    holds = compare_indexed(dialect, pairs.value, given.operator, given.value)
    return pairs.run, select(pairs.run).where(pairs.key == given.key, holds)


def _using(dialect: Dialect, given: Comparison, *, of_a_run: bool = False) -> Select[Any]:
    """The numbers of runs that used a data set of which a comparison holds; said so that it is asked of one run."""
    query = select(inputs.c.run)
    if given.key != "context":
        return query.where(compare(dialect, inputs.c[given.key], given.operator, given.value))
    holds = compare_indexed(dialect, input_tags.c.value, given.operator, given.value)
    # As an expression the key has no index of its own, or else SQLite would look at all inputs for each run.
    key = input_tags.c.key.concat("") if of_a_run and dialect.name == "sqlite" else input_tags.c.key
    return query.join(input_tags, input_tags.c.input == inputs.c.id).where(key == CONTEXT, holds)


def _is_few(connection: Connection, given: Comparison, matching: Select[Any]) -> bool:
    by_index = given.operator in (_BY_INDEX if given.entity == "metric" else ("=",))
    if connection.dialect.name != "sqlite" or not by_index:
        return False
    counted = select(func.count()).select_from(matching.limit(_FEW + 1).subquery())
    return connection.execute(counted).scalar_one() <= _FEW


def _number(key: str) -> ColumnElement[int]:
    return select(metric_keys.c.id).where(metric_keys.c.name == key).scalar_subquery()


def _parts_by_metric(query: Select[Any], order: Sequence[OrderBy], *, few: bool) -> list[Part]:
    """First the runs that have a number, straight from the index of values; then NaN; then those without.

    With `few` runs to look at, the index of values would only be a longer way.
    """
    latest = latest_metrics.alias("first_metric")
    key: ColumnElement[int] = latest.c.key + literal(0) if few else latest.c.key  # an expression has no index
    mine = (latest.c.run == runs.c.id) & (key == _number(order[0].key))
    having, terms = _ordered(query.join(latest, mine).where(latest.c.is_nan.is_(False)), order[1:], 1)
    numbers = Part(having, [Term(latest.c.value, float, descending=not order[0].ascending), *terms])
    lacking = query.outerjoin(latest, mine).where(latest.c.run.is_(None) | latest.c.is_nan)
    others, terms = _ordered(lacking, order[1:], 1)
    return [numbers, Part(others, [Term(case((latest.c.run.is_(None), 1), else_=0), int), *terms])]


def _ordered(query: Select[Any], order: Sequence[OrderBy], first: int) -> tuple[Select[Any], list[Term]]:
    """The query joined with what it is ordered by, and the terms."""
    terms: list[Term] = []
    for number, given in enumerate(order, first):
        descending = not given.ascending
        if given.entity == "attribute":
            terms += _attribute_terms(*_ATTRIBUTES[given.key], descending=descending)
        elif given.entity == "metric":
            latest = latest_metrics.alias(f"metric_{number}")
            query = query.outerjoin(latest, (latest.c.run == runs.c.id) & (latest.c.key == _number(given.key)))
            rank = case((latest.c.run.is_(None), 2), (latest.c.is_nan, 1), else_=0)
            value = func.coalesce(latest.c.value, literal(0.0, latest.c.value.type))
            terms += [Term(rank, int), Term(value, float, descending)]
        else:
            pairs = _PAIRS[given.entity].alias(f"pair_{number}")
            query = query.outerjoin(pairs, (pairs.c.run == runs.c.id) & (pairs.c.key == given.key))
            terms += missing_last(pairs.c.value, str, descending=descending)
    known = [term.expression for term in terms]
    return query, terms + [term for term in _NEWEST if not any(term.expression is each for each in known)]


def _attribute_terms(column: ColumnElement[Any], kind: type, *, descending: bool) -> list[Term]:
    nullable = getattr(column, "nullable", False)
    return missing_last(column, kind, descending=descending) if nullable else [Term(column, kind, descending)]
