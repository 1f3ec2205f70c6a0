"""`prefect-ml deploy-flows`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from prefect_ml.cli.output import Json, console, emit, print_json, print_table
from prefect_ml.errors import InvalidInputError


def deploy_flows(
    *,
    work_pool: str = "ml",
    create_pool: Annotated[bool, Parameter(negative="")] = False,
    models: str = "*",
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Make the deployments of all shipped flows with their schedules and automations, or update them.

    Workers need prefect-ml installed and nothing else. What somebody paused or switched off stays so.

    Args:
        work_pool: The work pool, of processes.
        create_pool: Make the work pool when it is not there.
        models: Whose new versions ask for a promotion: a model's name, or its beginning and `*`.
        dry_run: Print what would be made, and ask no server.
        json: Print JSON for programs.
    """
    from prefect_ml.flows.deployments import deploy, shipped, when  # noqa: PLC0415 (loads Prefect)

    if dry_run:
        _print_planned(shipped(work_pool, models), when, json=json)
        return
    from prefect_ml.flowruns.background import api_url  # noqa: PLC0415 (loads Prefect)

    if api_url() is None:
        raise InvalidInputError(
            "PREFECT_API_URL is not set, so there is no Prefect server to deploy to; set it with: "
            "prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    made = deploy(work_pool, create_pool=create_pool, models=models)
    emit(
        made,
        json=json,
        title=f"Deployments in the work pool {work_pool}",
        columns=("deployment", "", "runs by itself", "started by"),
        rows=(
            (each.name, "made" if each.made else "updated", "; ".join(each.schedules), "; ".join(each.automations))
            for each in made
        ),
    )
    if not json:
        console.print(f"Start a worker with: prefect worker start --pool {work_pool}", markup=False, highlight=False)


def _print_planned(planned: list[dict[str, Any]], when: Any, *, json: bool) -> None:
    if json:
        print_json(planned)
        return
    print_table(
        "Would be made",
        ("deployment", "entrypoint", "runs by itself", "started by"),
        (
            (
                each["name"],
                each["entrypoint"],
                "; ".join(when(schedule) for schedule in each.get("schedules", ())),
                "; ".join(trigger["name"] for trigger in each.get("triggers", ())),
            )
            for each in planned
        ),
    )
