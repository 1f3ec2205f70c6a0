"""A lineage in a few lines of markdown; what was recorded is text, never markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.tracking.summary import text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prefect_ml.lineage.facts import Code, Lineage

_MOST_ROWS = 50


def markdown(lineage: Lineage, links: Mapping[str, str]) -> str:
    """What produced a model, as a table, and the command that shows all of it.

    Args:
        lineage: of a registered version.
        links: URLs of pages by the id of the run, flow run or deployment that they show.
    """
    rows = list(_rows(lineage, links))
    more = [f"\n… and {len(rows) - _MOST_ROWS} more"] if len(rows) > _MOST_ROWS else []
    return "\n".join(
        [
            f"**{text(lineage.uri)}** comes from",
            "",
            "| | |",
            "|---|---|",
            *(f"| {label} | {value} |" for label, value in rows[:_MOST_ROWS]),
            *more,
            *(f"\n{text(sentence)}" for sentence in lineage.unknown),
            "",
            f"```\nprefect-ml lineage {_in_code(lineage.uri)}\n```",
        ]
    )


def _rows(lineage: Lineage, links: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for label, id_, name in _executed(lineage):
        yield label, f"[{text(name)}](<{links[id_]}>)" if id_ in links else text(name)
    for line in _code(lineage.code):
        yield "code", line
    for used in lineage.datasets:
        yield "data", text(f"{used.name} {used.digest} {used.context}".rstrip())
    for ancestor in lineage.upstream:
        yield "model", text(f"{ancestor.uri} {ancestor.digest}".rstrip())
    if lineage.environment_digest:
        yield "environment", text(lineage.environment_digest)
    if lineage.digest:
        yield "files", text(lineage.digest)


def _executed(lineage: Lineage) -> Iterator[tuple[str, str, str]]:
    """Label, id and name of what executed it."""
    execution = lineage.execution
    if execution.flow_run_id:
        yield "flow run", execution.flow_run_id, f"{execution.flow_name} {execution.flow_run_id}"
    if execution.deployment_id:
        yield "deployment", execution.deployment_id, execution.deployment_id
    if execution.task_run_id:
        yield "task run", execution.task_run_id, execution.task_name or execution.task_run_id
    if (run := lineage.run) is not None:
        yield "run", run.run_id, f"{run.name} {run.run_id} of {run.experiment}"
    for parent in lineage.parents:
        yield "child of", parent.run_id, f"{parent.name} {parent.run_id}"


def _code(code: Code) -> Iterator[str]:
    if code.entry_point:
        yield text(code.entry_point)
    if code.commit:
        changed = ", with changes" if code.dirty else ""
        yield text(f"{code.commit} {code.repository}".rstrip() + changed)


def _in_code(uri: str) -> str:
    """A URI in a fenced block, which a line of backticks would end."""
    return " ".join(uri.replace("`", "'").split())
