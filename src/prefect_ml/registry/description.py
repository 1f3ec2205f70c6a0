"""A promotion request as markdown, for the form that a person decides on."""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata

from prefect_ml.entities import GateResult, ModelVersion, PromotionRequest, RequestStatus
from prefect_ml.errors import NotFoundError
from prefect_ml.store.contract import Store

_PLAIN = re.compile(r"[^A-Za-z0-9 .,+\u00a0-\U0010ffff-]")
_MAX_TEXT = 300
_MAX_METRICS = 30


def escape(text: object) -> str:
    """Text of people as inert markdown: one line, at most 300 characters, every special character an entity.

    So it can neither close a table, nor be HTML, a link or a template.
    """
    line = "".join(" " if c.isspace() else c for c in str(text) if c.isspace() or unicodedata.category(c)[0] != "C")
    cut = line if len(line) <= _MAX_TEXT else line[: _MAX_TEXT - 3] + "..."
    return _PLAIN.sub(lambda match: f"&#{ord(match.group())};", cut)


def describe(request: PromotionRequest, store: Store | None = None) -> str:
    """The question, who asks, each gate's verdict and, given the store, the metrics beside the champion's."""
    parts = [_question(request), _facts(request), _gates(request)]
    if store is not None:
        parts.append(_metrics(request, store))
    if request.decisions:
        parts.append(_decisions(request))
    return "\n\n".join(part for part in parts if part)


def _question(request: PromotionRequest) -> str:
    what = f"{escape(request.name)} version {request.version} to @{escape(request.alias)}"
    if request.status is RequestStatus.PENDING:
        return f"## Promote {what}?"
    reason = f": {escape(request.status_reason)}" if request.status_reason else ""
    return f"## Promotion of {what}: {request.status}{reason}"


def _facts(request: PromotionRequest) -> str:
    now = "nothing yet" if request.base_version is None else f"version {request.base_version}"
    rows = {
        "asked by": escape(request.requester),
        "holds the alias now": now,
        "artifact": escape(request.artifact_digest),
        "policy": f"{escape(request.policy)} version {request.policy_version}",
        "open until": _when(request.expires_at),
        "request": escape(request.request_id),
    }
    if request.stage:
        rows["stage"] = escape(request.stage)
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


def _gates(request: PromotionRequest) -> str:
    if not request.evidence:
        return "The policy has no gates."
    rows = (_gate_row(result) for result in request.evidence)
    return "\n".join(["| gate | verdict | because |", "|---|---|---|", *rows])


def _gate_row(result: GateResult) -> str:
    verdict = "✅ passed" if result.passed else "❌ failed"
    return f"| {escape(result.gate)} | {verdict} | {escape(result.summary)} |"


def _decisions(request: PromotionRequest) -> str:
    rows = (
        f"| {escape(d.actor)} | {'approved' if d.approve else 'rejected'} | {escape(d.reason)} "
        f"| {escape(d.channel)} | {_when(d.decided_at)} |"
        for d in request.decisions
    )
    return "\n".join(["| who | decision | reason | where | when |", "|---|---|---|---|---|", *rows])


def _metrics(request: PromotionRequest, store: Store) -> str:
    mine = _metrics_of(store, request.name, request.version)
    champion = {} if request.base_version is None else _metrics_of(store, request.name, request.base_version)
    if not mine:
        return "The version has no run with metrics."
    rows = [_metric_row(key, mine[key], champion.get(key)) for key in sorted(mine)[:_MAX_METRICS]]
    held = "no champion" if request.base_version is None else f"champion (version {request.base_version})"
    more = [f"\n{len(mine) - _MAX_METRICS} more metrics are on the run."] if len(mine) > _MAX_METRICS else []
    head = [f"| metric | version {request.version} | {held} | change |", "|---|---:|---:|---:|"]
    return "\n".join([*head, *rows, *more])


def _metrics_of(store: Store, name: str, version: int) -> dict[str, float]:
    try:
        found: ModelVersion = store.get_model_version(name, version)
        return {} if found.run_id is None else dict(store.get_run(found.run_id).metrics)
    except NotFoundError:
        return {}


def _metric_row(key: str, value: float, champion: float | None) -> str:
    return f"| {escape(key)} | {_number(value)} | {_number(champion)} | {_change(value, champion)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _change(value: float, base: float | None) -> str:
    if base is None or not math.isfinite(value - base):
        return ""
    return f"{value - base:+.4g}"


def _when(milliseconds: int) -> str:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).strftime("%Y-%m-%d %H.%M UTC")
