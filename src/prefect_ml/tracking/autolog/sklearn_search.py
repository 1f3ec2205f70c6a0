"""What a search over params found: the best, a table of all candidates, and child runs of the best ones."""

from __future__ import annotations

import csv
import io
import math
import uuid
from typing import TYPE_CHECKING, Any

from prefect_ml.tracking import start
from prefect_ml.tracking.autolog import values
from prefect_ml.tracking.autolog.contract import MOST_CHILDREN, MOST_PARAMS, MOST_TABLE_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.tracking.autolog.fit import Fit

_DEFAULT_EXPERIMENT = "Default"
_SHOWN = ("mean_", "std_", "rank_")


def record_search(fit: Fit, search: Any) -> None:
    """Record `best_params_`, `best_score_` and `cv_results_` of a fitted search."""
    results = search.cv_results_
    with fit.attempt("the best candidate"):
        fit.params({f"best_{name}": value for name, value in getattr(search, "best_params_", {}).items()})
        if hasattr(search, "best_score_"):
            fit.metrics({"best_cv_score": search.best_score_})
    with fit.attempt("the table of candidates"):
        fit.text(_table(results), "cv_results.csv")
    with fit.attempt("the candidates as child runs"):
        _record_children(fit, results, _best_first(search))


def _table(results: Mapping[str, Any]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(results)
    columns = [column[:MOST_TABLE_ROWS] for column in results.values()]
    writer.writerows([_cell(item) for item in row] for row in zip(*columns, strict=True))
    return stream.getvalue()


def _cell(item: Any) -> Any:
    """What a param was not given is masked, and empty in the table."""
    return "" if type(item).__name__ == "MaskedConstant" else item


def _best_first(search: Any) -> list[int]:
    """Rows by rank; a candidate that went through several rounds counts by its last one."""
    results = search.cv_results_
    ranks = results[_rank_key(search)]
    rounds = results.get("iter", [0] * len(ranks))
    order = sorted(range(len(ranks)), key=lambda row: (-int(rounds[row]), int(ranks[row])))
    last: dict[str, int] = {}
    for row in order:
        last.setdefault(repr(results["params"][row]), row)
    return list(last.values())


def _rank_key(search: Any) -> str:
    refit = getattr(search, "refit", None)
    key = f"rank_test_{refit if isinstance(refit, str) else 'score'}"
    return key if key in search.cv_results_ else next(k for k in search.cv_results_ if k.startswith("rank_test_"))


def _record_children(fit: Fit, results: Mapping[str, Any], rows: list[int]) -> None:
    for place, row in enumerate(rows[:MOST_CHILDREN], 1):
        _record_child(fit, results, row, place)
    fit.count("child run", min(len(rows), MOST_CHILDREN))
    if len(rows) > MOST_CHILDREN:
        fit.note(f"the best {MOST_CHILDREN} of {len(rows)} candidates are child runs")


def _record_child(fit: Fit, results: Mapping[str, Any], row: int, place: int) -> None:
    experiment = fit.run.outlet.experiment or _DEFAULT_EXPERIMENT
    name = f"{fit.prefix.replace('/', '-')}candidate-{place}"
    tags = {"prefect_ml.autolog": f"{fit.library}: a candidate"}
    # Code, changes and packages are the parent's, which has them.
    child = start.begin(uuid.uuid4().hex, experiment, name, parent=fit.run, tags=tags, own_code=False)
    try:
        params = list(results["params"][row].items())[:MOST_PARAMS]
        child.log_params({values.key(key): values.text(value) for key, value in params})
        shown = {key: float(column[row]) for key, column in results.items() if key.startswith(_SHOWN)}
        child.log_metrics({values.key(key): value for key, value in shown.items() if not math.isnan(value)})
    finally:
        child.end(wait=False)
