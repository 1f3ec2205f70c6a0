"""The scheduled flow that removes for good what was deleted long ago."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from prefect_ml.moving.retention import Removal, parse_age, plan, remove
from prefect_ml.registry.description import escape
from prefect_ml.store import open_store

_SHOWN = 500


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 15, 60])
def remove_from_store(older_than: str, *, held: bool, dry_run: bool) -> Removal:
    """Remove it, or tell what would go; a retry goes on where the attempt before it ended."""
    if dry_run:
        return plan(open_store(), parse_age(older_than), held=held)
    return remove(open_store(), parse_age(older_than), held=held)


@flow(name="remove-deleted", flow_run_name="remove what was deleted {older_than} ago")
def remove_deleted(older_than: str = "30d", dry_run: bool = True, held: bool = False) -> dict[str, Any]:
    """Remove experiments, runs and logged models that were deleted long ago, with their files, for good.

    What a model version needs (its run, its logged model) stays. The flow run has a Markdown artifact of what went.

    Args:
        older_than: How long ago it was deleted at least: a number and s, m, h, d or w.
        dry_run: Whether it only tells what would go. The default, so that nothing goes by mistake.
        held: Whether what model versions need goes too; what an endpoint routes to stays.

    Returns:
        `done`, `gone` (how many of each kind), `files`, `bytes` and `kept` (how many stay, since model versions need
        them or their files are outside of the artifact root).

    Raises:
        InvalidInputError: `older_than` is no age.
        StoreUnavailableError: the store or its artifacts stayed away.
    """
    removal = remove_from_store(older_than, held=held, dry_run=dry_run)
    create_markdown_artifact(_markdown(removal), key="removed", description=f"Deleted {older_than} ago or earlier")
    gone: dict[str, int] = {}
    for each in removal.gone:
        gone[str(each.what.kind)] = gone.get(str(each.what.kind), 0) + 1
    get_run_logger().info("%s: %s, %d bytes.", "Gone" if removal.done else "Would go", gone or "nothing", removal.bytes)
    return {
        "done": removal.done,
        "gone": gone,
        "files": removal.files,
        "bytes": removal.bytes,
        "kept": len(removal.kept) + len(removal.elsewhere),
    }


def _markdown(removal: Removal) -> str:
    lines = [
        f"## {'Removed' if removal.done else 'Would be removed'}: {len(removal.gone)}",
        "",
        "| kind | id | name | files | bytes |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.what.kind} | {escape(each.what.id)} | {escape(each.what.name)} | {each.files} | {each.bytes} |"
        for each in removal.gone[:_SHOWN]
    ]
    lines += ["", f"## Kept, since model versions need them: {len(removal.kept)}", ""]
    lines += [f"- {each.kind} {escape(each.id)}: {escape(', '.join(each.held_by))}" for each in removal.kept[:_SHOWN]]
    lines += ["", f"## Kept, since their files are outside of the artifact root: {len(removal.elsewhere)}", ""]
    lines += [f"- {each.kind} {escape(each.id)}: {escape(each.artifact_uri)}" for each in removal.elsewhere[:_SHOWN]]
    return "\n".join(lines) + "\n"
