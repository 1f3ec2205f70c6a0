"""The card of a model that asks for an alias: what a person sees before deciding, in markdown.

What people and clients wrote is text in it, never markup; and it is bounded, however much a model came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import PrefectMLError
from prefect_ml.lineage.read import get_lineage
from prefect_ml.registry.description import (
    change,
    decisions_table,
    facts_table,
    gates_table,
    metrics_table,
    number,
    question,
    table,
    when,
)
from prefect_ml.registry.inert import escape

if TYPE_CHECKING:
    from prefect_ml.entities import GateResult, PromotionRequest
    from prefect_ml.lineage.facts import Code, Lineage, UsedDataset
    from prefect_ml.store.contract import Store
    from prefect_ml.store.moving_contract import ForeignEvidence

# The URL of a page by its kind ("flow-run", "deployment", "artifacts") and id; "" where there is none.
Link = Callable[[str, str], str]

# Characters of a card; sections that come late give way.
LONGEST = 40_000
_MOST_GROUPS = 20
_MOST_DATASETS = 20
_MOST_MODELS = 20
_MOST_OTHERS = 5
_MOST_ORIGINS = 5
_MOST_FOREIGN = 10
_COMMIT = 12


def no_link(kind: str, id: str) -> str:  # noqa: ARG001  the shape of a Link
    """Where there are no pages to link to."""
    return ""


def model_card(store: Store, request: PromotionRequest, link: Link = no_link, *, longest: int = LONGEST) -> str:
    """The question, who asks, gates with numbers, metrics and slices beside the champion's, data, code, and links.

    Args:
        store: where the request is.
        request: with its evidence.
        link: makes the URLs of pages.
        longest: characters that the card may have.
    """
    return _bounded(list(_sections(store, request, link)), longest, request)


def _sections(store: Store, request: PromotionRequest, link: Link) -> Iterator[str]:
    lineage = _lineage(store, request)
    yield question(request)
    yield facts_table(request)
    yield _pages(request, lineage, link)
    yield f"### Gates\n\n{gates_table(request.evidence)}"
    if request.decisions:
        yield f"### Decisions\n\n{decisions_table(request)}"
    yield f"### Metrics\n\n{metrics_table(request, store)}"
    yield from _slices(request)
    if lineage is not None:
        yield _origin_of(lineage)
        yield _data(lineage)
    yield from _foreign(store, request)
    yield _others(store, request, link)


def _lineage(store: Store, request: PromotionRequest) -> Lineage | None:
    """None where the version or its run are gone: a card says less then, and is shown all the same."""
    try:
        return get_lineage(store, f"models:/{request.name}/{request.version}")
    except PrefectMLError:
        return None


def _pages(request: PromotionRequest, lineage: Lineage | None, link: Link) -> str:
    """Links to where it was made and where it is asked for."""
    wanted = [("flow-run", request.flow_run_id, "this promotion")]
    if lineage is not None:
        made = lineage.execution
        wanted += [
            ("flow-run", made.flow_run_id, "the flow run that made it"),
            ("artifacts", made.flow_run_id, "its artifacts"),
            ("deployment", made.deployment_id, "its deployment"),
        ]
    found = [(text, link(kind, of)) for kind, of, text in wanted if of]
    return " · ".join(_linked(text, url) for text, url in found if url)


def _linked(text: str, url: str) -> str:
    """A link; its URL is made of ids and the operator's settings, and still cannot leave its brackets."""
    return f"[{text}](<{url}>)" if not set(url) & set("<>\n\\ ") else text


def _slices(request: PromotionRequest) -> Iterator[str]:
    """The groups of each gate that compared groups."""
    for result in request.evidence:
        groups = result.evidence.get("groups")
        if isinstance(groups, (list, tuple)) and groups and all(isinstance(each, Mapping) for each in groups):
            yield _groups(result, groups)


def _groups(result: GateResult, groups: list[Mapping[str, Any]] | tuple[Mapping[str, Any], ...]) -> str:
    column, metric = result.evidence.get("column", "group"), result.evidence.get("metric", "")
    rows = [
        (
            escape(each.get("group", "")),
            number(each.get("rows")),
            number(each.get("value")),
            number(each.get("champion_value")),
            change(each.get("value"), each.get("champion_value")),
        )
        for each in groups
    ]
    head = [escape(column), "rows", "this version", "champion", "change"]
    of = f" of {escape(metric)}" if metric else ""
    return f"### Slices{of}: {escape(result.gate)}\n\n{table(head, rows, numeric=True, most=_MOST_GROUPS)}"


def _origin_of(lineage: Lineage) -> str:
    """Code, environment, run and the models that it was made of."""
    rows = [("code", line) for line in _code(lineage.code)]
    if lineage.environment_digest:
        rows.append(("environment", escape(lineage.environment_digest)))
    if (run := lineage.run) is not None:
        rows.append(("run", escape(f"{run.name} {run.run_id} of {run.experiment}, by {run.user or 'nobody named'}")))
    rows += [("made of", escape(f"{each.uri} {each.digest}".rstrip())) for each in lineage.upstream]
    unknown = "".join(f"\n- {escape(sentence)}" for sentence in lineage.unknown)
    shown = table(["", ""], rows, most=_MOST_MODELS) if rows else "Nothing tells what made it."
    return f"### Code and environment\n\n{shown}" + (f"\n{unknown}" if unknown else "")


def _code(code: Code) -> Iterator[str]:
    if code.entry_point:
        yield escape(code.entry_point)
    if code.commit:
        changed = " with uncommitted changes" if code.dirty else ""
        yield f"commit {escape(code.commit[:_COMMIT])} of {escape(code.repository or 'a local repository')}{changed}"
    if code.dirty and code.diff_digest:
        yield f"changes {escape(code.diff_digest)}"


def _data(lineage: Lineage) -> str:
    if not lineage.datasets:
        return ""
    rows = [_dataset(used) for used in lineage.datasets]
    return f"### Data\n\n{table(['data set', 'used for', 'rows', 'digest'], rows, most=_MOST_DATASETS)}"


def _dataset(used: UsedDataset) -> tuple[str, ...]:
    rows = "" if used.rows is None else f"{used.rows:,}"
    return escape(used.name), escape(used.context), rows, escape(used.digest)


def _foreign(store: Store, request: PromotionRequest) -> Iterator[str]:
    """What other stores said of the version; told as theirs."""
    try:
        found = store.get_foreign_evidence(request.name, request.version)
    except PrefectMLError:
        return
    for each in found[-_MOST_ORIGINS:]:
        yield _told_elsewhere(each)


def _told_elsewhere(told: ForeignEvidence) -> str:
    """One origin's requests. The document came from elsewhere, so nothing in it is taken to be as it should."""
    by = f" by {escape(told.taken_over_by)}" if told.taken_over_by else ""
    head = (
        f"### Said elsewhere: {escape(told.origin)}\n\n"
        f"Copied {when(told.taken_over_at)}{by}. It counts for nothing here: no approval there is one of this."
    )
    rows = [_foreign_row(each) for each in _mappings(told.document.get("requests"))]
    if not rows:
        return f"{head}\n\nNobody asked for a promotion there."
    columns = ["alias there", "became", "asked by", "gates passed", "approved by", "policy"]
    return f"{head}\n\n{table(columns, rows, most=_MOST_FOREIGN)}"


def _foreign_row(request: Mapping[str, Any]) -> tuple[str, ...]:
    gates, decisions = _mappings(request.get("evidence")), _mappings(request.get("decisions"))
    passed = sum(each.get("passed") is True for each in gates)
    approving = [str(each.get("actor", "")) for each in decisions if each.get("approve") is True]
    return (
        escape(request.get("alias", "")),
        escape(request.get("status", "")),
        escape(request.get("requester", "")),
        f"{passed} of {len(gates)}",
        escape(", ".join(approving)),
        escape(f"{request.get('policy', '')} version {request.get('policy_version', '')}"),
    )


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, (list, tuple)) else []


def _others(store: Store, request: PromotionRequest, link: Link) -> str:
    """The latest other requests for the same alias."""
    listed = store.list_requests(name=request.name, max_results=100)
    others = [each for each in listed if each.alias == request.alias and each.request_id != request.request_id]
    if not others:
        return ""
    rows = [
        (
            _linked(when(each.requested_at), link("flow-run", each.flow_run_id) if each.flow_run_id else ""),
            f"version {each.version}",
            each.status.value,
            escape(each.requester),
        )
        for each in others[:_MOST_OTHERS]
    ]
    return f"### Other promotions to @{escape(request.alias)}\n\n{table(['asked', 'what', 'became', 'asked by'], rows)}"


def _bounded(sections: list[str], longest: int, request: PromotionRequest) -> str:
    """The sections that fit, the first ones first; what is left out is named as such."""
    whole = escape(f"prefect-ml lineage models:/{request.name}/{request.version}")
    note = f"\n\nThe rest is too long to be shown here; see it with {whole}"
    shown = ""
    for section in filter(None, sections):
        longer = f"{shown}\n\n{section}" if shown else section
        if len(longer) > longest - len(note):
            return f"{shown}{note}" if shown else f"{longer[: longest - len(note)]}{note}"
        shown = longer
    return shown
