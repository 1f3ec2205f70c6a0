"""A promotion request as markdown, for the form that a person decides on."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence

from prefect_ml.entities import GateResult, ModelVersion, PromotionRequest, RequestKind, RequestStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.registry.inert import escape
from prefect_ml.store.contract import Store

__all__ = [
    "change",
    "decisions_table",
    "describe",
    "escape",
    "facts_table",
    "gates_table",
    "metrics_table",
    "number",
    "question",
    "table",
    "when",
]

_MAX_METRICS = 30
_MAX_GATES = 50
_MAX_DECISIONS = 50
# Numbers of a gate's evidence that are shown beside its verdict.
_MAX_NUMBERS = 6


def describe(request: PromotionRequest, store: Store | None = None) -> str:
    """The question, who asks, each gate's verdict and, given the store, the metrics beside the champion's."""
    parts = [question(request), facts_table(request), gates_table(request.evidence)]
    if store is not None:
        parts.append(metrics_table(request, store))
    if request.decisions:
        parts.append(decisions_table(request))
    return "\n\n".join(part for part in parts if part)


def question(request: PromotionRequest) -> str:
    """What is asked, or what became of it, as a heading."""
    to = "as" if request.kind is RequestKind.ROLLBACK else "to"
    what = f"{escape(request.name)} version {request.version} {to} @{escape(request.alias)}"
    back = request.kind is RequestKind.ROLLBACK
    if request.status is RequestStatus.PENDING:
        return f"## Roll back to {what}?" if back else f"## Promote {what}?"
    reason = f": {escape(request.status_reason)}" if request.status_reason else ""
    return f"## {'Rollback to' if back else 'Promotion of'} {what}: {request.status}{reason}"


def facts_table(request: PromotionRequest) -> str:
    """Who asks, for what, and until when."""
    now = "nothing yet" if request.base_version is None else f"version {request.base_version}"
    rows = {
        "asked by": escape(request.requester),
        "holds the alias now": now,
        "artifact": escape(request.artifact_digest),
        "policy": f"{escape(request.policy)} version {request.policy_version}",
        "open until": when(request.expires_at),
        "request": escape(request.request_id),
    }
    if request.stage:
        rows["stage"] = escape(request.stage)
    return table(["", ""], rows.items())


def gates_table(results: Sequence[GateResult]) -> str:
    """Each gate's verdict, why, and the numbers that it rests on."""
    if not results:
        return "The policy has no gates."
    rows = (
        ("✅ passed" if result.passed else "❌ failed", escape(result.summary), _numbers(result.evidence))
        for result in results
    )
    named = ((escape(result.gate), *row) for result, row in zip(results, rows, strict=True))
    return table(["gate", "verdict", "because", "numbers"], named, most=_MAX_GATES)


def decisions_table(request: PromotionRequest) -> str:
    """Who decided what, why, where and when; the last ones of many."""
    rows = (
        (
            escape(d.actor),
            "approved" if d.approve else "rejected",
            escape(d.reason),
            escape(d.channel),
            when(d.decided_at),
        )
        for d in request.decisions[-_MAX_DECISIONS:]
    )
    return table(["who", "decision", "reason", "where", "when"], rows)


def metrics_table(request: PromotionRequest, store: Store) -> str:
    """The metrics of the version's run beside the champion's."""
    mine = _metrics_of(store, request.name, request.version)
    champion = {} if request.base_version is None else _metrics_of(store, request.name, request.base_version)
    if not mine:
        return "The version has no run with metrics."
    held = "no champion" if request.base_version is None else f"champion (version {request.base_version})"
    rows = (
        (escape(key), number(mine[key]), number(champion.get(key)), change(mine[key], champion.get(key)))
        for key in sorted(mine)[:_MAX_METRICS]
    )
    more = [f"\n{len(mine) - _MAX_METRICS} more metrics are on the run."] if len(mine) > _MAX_METRICS else []
    return "\n".join([table(["metric", f"version {request.version}", held, "change"], rows, numeric=True), *more])


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: bool = False, most: int = 200) -> str:
    """A table in markdown of cells that are inert already.

    Args:
        head: the names of the columns.
        rows: as many cells each.
        numeric: whether all columns but the first are numbers.
        most: rows that are shown; the others are counted.
    """
    cells = list(rows)
    ruler = ["---", *(["---:" if numeric else "---"] * (len(head) - 1))]
    lines = [head, ruler, *cells[:most]]
    more = [f"\n{len(cells) - most} more are not shown."] if len(cells) > most else []
    shown = [f"| {' | '.join(line)} |" for line in lines]
    shown[1] = f"|{'|'.join(ruler)}|"
    return "\n".join([*shown, *more])


def number(value: object) -> str:
    """A number with six digits; "" for what is none."""
    return f"{value:.6g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def change(value: object, base: object) -> str:
    """By how much a number differs from another, with its sign; "" where one of them is none."""
    if not isinstance(value, (int, float)) or not isinstance(base, (int, float)) or not math.isfinite(value - base):
        return ""
    return f"{value - base:+.4g}"


def when(milliseconds: int) -> str:
    """A time for people, in UTC."""
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).strftime("%Y-%m-%d %H.%M UTC")


def _numbers(evidence: Mapping[str, object]) -> str:
    """The first numbers of a gate's evidence, by name; short lists of numbers too."""
    found = [f"{escape(name)} {told}" for name, value in evidence.items() if (told := _told(value))]
    return ", ".join(found[:_MAX_NUMBERS])


def _told(value: object) -> str:
    if isinstance(value, (list, tuple)) and 0 < len(value) <= 3 and all(map(number, value)):  # noqa: PLR2004  an interval
        return " to ".join(map(number, value))
    return number(value)


def _metrics_of(store: Store, name: str, version: int) -> dict[str, float]:
    try:
        found: ModelVersion = store.get_model_version(name, version)
        return {} if found.run_id is None else dict(store.get_run(found.run_id).metrics)
    except NotFoundError:
        return {}
