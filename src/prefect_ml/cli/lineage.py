"""`prefect-ml lineage`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.text import Text
from rich.tree import Tree

from prefect_ml.cli.output import Json, console, print_json, print_table, when
from prefect_ml.errors import InvalidInputError
from prefect_ml.lineage import find
from prefect_ml.lineage.facts import Code, Execution, Lineage, RunFacts
from prefect_ml.lineage.read import get_lineage
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store

_SHORT = 12


def lineage(
    uri: str | None = None,
    *,
    dataset: str | None = None,
    commit: str | None = None,
    flow_run: str | None = None,
    model: str | None = None,
    json: Json = False,
) -> None:
    """Show what produced a model, or which model versions came from something.

    Args:
        uri: `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `runs:/RUN_ID/NAME`.
        dataset: Instead: the versions that came from the data set of this digest.
        commit: Instead: the versions that came from this commit, in full or its first 7 digits or more.
        flow_run: Instead: the versions that this flow run made, by its id.
        model: Instead: the versions whose runs loaded this model, by its URI.
        json: Print JSON for programs.
    """
    asked: list[tuple[Callable[[Store, str], find.Found], str]] = [
        (ask, value)
        for ask, value in (
            (find.from_dataset, dataset),
            (find.from_commit, commit),
            (find.from_flow_run, flow_run),
            (find.from_model, model),
        )
        if value is not None
    ]
    if len(asked) + (uri is not None) != 1:
        raise InvalidInputError("Give one thing: a model's URI, or one of --dataset, --commit, --flow-run and --model.")
    if uri is None:
        [(ask, value)] = asked
        _show_found(ask(open_store(), value), value, json=json)
        return
    found = get_lineage(open_store(), uri)
    if json:
        print_json(found)
    else:
        console.print(tree(found))


def tree(lineage: Lineage) -> Tree:
    """A lineage as a tree; what people and programs recorded is text, never markup."""
    root = Tree(Text(lineage.uri, style="bold"))
    _model(root, lineage)
    return root


def _model(branch: Tree, lineage: Lineage) -> None:
    version = lineage.version
    if lineage.digest:
        _leaf(branch, "digest", lineage.digest)
    if version is not None:
        _leaf(branch, "registered", f"{when(version.creation_timestamp)}")
        if version.aliases:
            _leaf(branch, "aliases", ", ".join(f"@{alias}" for alias in version.aliases))
    _run(branch, lineage)
    for text in _code(lineage.code):
        _leaf(branch, "code", text)
    if lineage.environment_digest:
        _leaf(branch, "environment", lineage.environment_digest)
    for used in lineage.datasets:
        _leaf(branch, "data", f"{used.name} {used.digest}{f' for {used.context}' if used.context else ''}")
    for ancestor in lineage.upstream:
        _model(_leaf(branch, "from", ancestor.uri), ancestor)
    _outcome(branch, lineage)
    for sentence in lineage.unknown:
        branch.add(Text(sentence, style="dim"))


def _run(branch: Tree, lineage: Lineage) -> None:
    if lineage.run is None:
        return
    run = _leaf(branch, "run", _brief(lineage.run))
    for label, text in _execution(lineage.execution):
        _leaf(run, label, text)
    for parent in lineage.parents:
        run = _leaf(run, "child of", _brief(parent))


def _brief(run: RunFacts) -> str:
    deleted = ", deleted" if run.deleted else ""
    return f"{run.run_id} {run.name!r} of {run.experiment!r}, {run.status.value}{deleted}, by {run.user or 'unknown'}"


def _execution(execution: Execution) -> Iterator[tuple[str, str]]:
    if execution.flow_run_id:
        yield "flow run", f"{execution.flow_run_id} of {execution.flow_name!r}"
    if execution.deployment_id:
        yield "deployment", execution.deployment_id
    if (attempt := execution.attempt) is not None:
        where = f" on {attempt.host}" if attempt.host else ""
        yield "attempt", f"{attempt.number}, started {when(attempt.start_time)}{where}"
    if execution.task_run_id:
        yield "task run", f"{execution.task_run_id} {execution.task_name}".rstrip()


def _code(code: Code) -> Iterator[str]:
    if code.entry_point:
        yield code.entry_point
    if code.commit:
        where = " of ".join(part for part in (code.branch, code.repository) if part)
        changed = {True: ", with changes", False: ", no changes", None: ""}[code.dirty]
        yield f"commit {code.commit}{f' ({where})' if where else ''}{changed}"
    if code.diff_digest:
        yield f"changes {code.diff_digest}"
    if code.notebook_digest:
        yield f"notebook {code.notebook_digest}"


def _outcome(branch: Tree, lineage: Lineage) -> None:
    for promotion in lineage.promotions:
        approved = f", approved by {', '.join(promotion.approvers)}" if promotion.approvers else ""
        _leaf(
            branch,
            "promotion",
            f"to @{promotion.alias}: {promotion.status}, asked by {promotion.requester} "
            f"{when(promotion.requested_at)}{approved} ({promotion.request_id})",
        )
    for move in lineage.moves:
        _leaf(
            branch, "became", f"@{move.alias} {when(move.moved_at)} by {move.moved_by} (generation {move.generation})"
        )


def _leaf(branch: Tree, label: str, text: str) -> Tree:
    return branch.add(Text.assemble((f"{label} ", "cyan"), Text(text)))


def _show_found(found: find.Found, value: str, *, json: bool) -> None:
    if json:
        print_json(found)
        return
    if not found.run_ids and not found.versions:
        console.print(f"Nothing is known here of {value}.", markup=False, highlight=False)
        return
    more = "" if found.complete else " (the first ones)"
    print_table(
        f"Model versions from {value}{more}",
        ("model", "version", "aliases", "registered", "run id", "digest"),
        [
            (v.name, v.version, v.aliases, when(v.creation_timestamp), v.run_id, v.artifact_digest[: _SHORT + 7])
            for v in found.versions
        ],
    )
    made_none = _without_versions(found)
    if made_none:
        runs = "run" if made_none == 1 else "runs"
        console.print(f"{made_none} more {runs} used it and made no version.", markup=False)


def _without_versions(found: find.Found) -> int:
    having: Sequence[str | None] = [version.run_id for version in found.versions]
    return len(set(found.run_ids) - set(having))
