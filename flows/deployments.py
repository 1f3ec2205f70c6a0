"""The deployments that ship with the package, and making them on a Prefect server.

`prefect.yaml` at the root of the repository says the same for `prefect deploy`; a test holds the two together.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema

import prefect_ml.blocks
from prefect_ml.errors import InvalidInputError
from prefect_ml.flowruns import events
from prefect_ml.flowruns.promotions import WAITING_FLOWS

POOL = "ml"
CRASHED = "prefect.flow-run.Crashed"
# Prefect's own events of a flow run that nobody cancelled.
ENDED_BY_ITSELF = ("prefect.flow-run.Failed", CRASHED)


class Deployed(NamedTuple):
    """One deployment as it was made.

    Attributes:
        name: `flow/deployment`, as `prefect deployment run` takes it.
        entrypoint: the module path of the flow.
        schedules: when it runs by itself, in words.
        automations: names of the automations that start it.
        made: whether it was not there before.
    """

    name: str
    entrypoint: str
    schedules: tuple[str, ...]
    automations: tuple[str, ...]
    made: bool


def shipped(pool: str = POOL, models: str = "*") -> list[dict[str, Any]]:
    """The deployments, in the words of `prefect.yaml`.

    Args:
        pool: the work pool, of processes.
        models: which models' new versions are promoted: a name, or its beginning and `*`.
    """
    found = [
        _of(
            "promote-model",
            "promote.promote_model",
            "Evaluate the gates of a model version, wait for a person's decision, move the alias.",
            "registry",
            triggers=[_promote_new_versions(models)],
        ),
        _of(
            "rollback-model",
            "rollback.rollback_model",
            "Move an alias back to the version before, by its policy or in an emergency.",
            "registry",
        ),
        _of(
            "deploy-model",
            "deploy_model.deploy_model",
            "Bring a model to an endpoint: approved, loaded by all replicas, watched, and taken back when it fails.",
            "serving",
        ),
        _of(
            "canary",
            "canary.canary",
            "Give a model more and more of an endpoint's requests, and take it back when it does worse.",
            "serving",
        ),
        _of(
            "await-served",
            "await_served.await_served",
            "Wait until a serving process answers with what a model URI says now.",
            "serving",
        ),
        _of(
            "serve-model",
            "serve.serve_model",
            "Serve models as long as the run is not cancelled; cancelling drains.",
            "serving",
            triggers=[_serve_again()],
        ),
        _of(
            "challenge-champions",
            "challenger.challenge_champions",
            "Ask for the alias of each champion that a newer version of its model was not compared with yet.",
            "registry",
            **_at("weekly", "0 5 * * 1"),
        ),
        _of(
            "revalidate-champions",
            "revalidate.revalidate_champions",
            "Judge the champions by the gates of their policies again, and do with those that fail what these say.",
            "registry",
            **_at("nightly", "30 3 * * *"),
        ),
        _of(
            "notify-people",
            "notify.notify_people",
            "Tell the notification blocks of a policy of a rollback, wherever it was made.",
            "registry",
            triggers=[
                _tell("an alias was rolled back", events.ROLLED_BACK, "rolled back"),
                _tell("an alias was rolled back in an emergency", events.EMERGENCY, "emergency"),
            ],
        ),
        _of(
            "reconcile-runs",
            "reconcile.reconcile_runs",
            "End the runs of processes that died where nobody could tell, go on with promotions, read steps of runs.",
            "tracking",
            **_alone(),
            schedules=[{"slug": "every-five-minutes", "interval": 300, "active": True}],
            triggers=[_reconcile_at_once()],
        ),
        _of(
            "remove-deleted",
            "retention.remove_deleted",
            "Remove for good what was deleted long ago; it only tells what would go, unless told otherwise.",
            "tracking",
        ),
        _of(
            "copy-model",
            "copy_model.copy_model",
            "Copy a model version from one server to another, verify it, and ask for an alias there.",
            "moving",
        ),
        _of(
            "import-mlflow",
            "import_mlflow.import_mlflow",
            "Take over experiments, runs, models and files from MLflow.",
            "moving",
        ),
        _of(
            "batch-score",
            "batch_score.batch_score",
            "Score a whole data set with a model: Parquet, CSV or a query in, a folder of Parquet parts out.",
            "scoring",
        ),
        _of(
            "detect-drift",
            "drift.detect_drift",
            "Compare what champions were asked of late with what they were trained on, and tell of drift by an event.",
            "serving",
            **_at("hourly", "10 * * * *", active=False),
        ),
        _of(
            "run-project",
            "run_project.run_project",
            "Run an entry point of a project, from a repository at a commit or a bundle of a folder.",
            "projects",
        ),
        _of(
            "map-project",
            "map_project.map_project",
            "Run an entry point of a project with many parameter sets, each a child run.",
            "projects",
        ),
        _of(
            "sweep",
            "sweep.sweep",
            "Train a function with many parameters, each trial a child run, and find the best.",
            "training",
        ),
        _of(
            "train-candidates",
            "quickstart.train_candidates",
            "Train the quickstart's candidates every night and keep the best, once its schedule is switched on.",
            "training",
            **_at("nightly", "30 2 * * *", active=False),
        ),
    ]
    place: dict[str, Any] = {"name": pool, "work_queue_name": None, "job_variables": {}}
    return [each | {"work_pool": place} for each in found]


def deploy(pool: str = POOL, *, create_pool: bool = False, models: str = "*") -> list[Deployed]:
    """Make the shipped deployments, or bring those that are there to what this release says.

    What somebody paused stays paused, and job variables that somebody set stay set.

    Args:
        pool: the work pool.
        create_pool: whether it is made, of processes, when it is not there.
        models: which models' new versions are promoted.

    Raises:
        InvalidInputError: the work pool is not there, or `models` is no beginning of a name.
    """
    if "*" in models.removesuffix("*") or not models:
        raise InvalidInputError(f"{models!r} is no name of a model, nor the beginning of one and `*`.")
    with get_client(sync_client=True) as client:
        _need_pool(client, pool, create=create_pool)
        for name in prefect_ml.blocks.__all__:
            cast("type[Block]", getattr(prefect_ml.blocks, name)).register_type_and_schema()
        return [_make(client, each) for each in shipped(pool, models)]


def deploy_one(name: str, entrypoint: str, description: str, tag: str, pool: str) -> str:
    """Make one deployment of a flow of `prefect_ml.flows` on a work pool; `flow/deployment`, as Prefect names it.

    Raises:
        InvalidInputError: the work pool is not there.
    """
    with get_client(sync_client=True) as client:
        _need_pool(client, pool, create=False)
        return _make(client, _of(name, entrypoint, description, tag) | {"work_pool": {"name": pool}}).name


def _of(name: str, entrypoint: str, description: str, tag: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "tags": [tag],
        "entrypoint": f"prefect_ml.flows.{entrypoint}",
        "pull": [],
        **more,
    }


def _at(slug: str, cron: str, *, active: bool = True) -> dict[str, Any]:
    schedule = {"slug": slug, "cron": cron, "timezone": "UTC", "active": active}
    return {**_alone(), "schedules": [schedule]}


def _alone() -> dict[str, Any]:
    """Two at once would do the same work; a late one is not worth having."""
    return {"concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"}}


def _promote_new_versions(models: str) -> dict[str, Any]:
    return {
        "type": "event",
        "name": "new version -> promote-model",
        "description": "A new version of a model asks for the alias of the champion.",
        # By labels: an id would be the same for other models with dots in their names.
        "match": {"prefect-ml.kind": "model", "prefect-ml.model": models},
        "expect": [events.CREATED],
        "parameters": {
            "name": _text("event.payload.name"),
            "version": _number("event.payload.version"),
            # Who registered it asked for it: else the worker would have, and four eyes meant nothing.
            "requester": _text("event.payload.actor or 'unknown'"),
        },
    }


def _serve_again() -> dict[str, Any]:
    """A server that ended by itself is started again; one that was cancelled or stopped in order is not."""
    given: dict[str, object] = {"model_uris": [], "host": "127.0.0.1", "port": 5001, "workers": 1, "timeout": 600.0}
    return {
        "type": "event",
        "name": "a server ended -> serve-model",
        "description": "Starts a server that failed or was killed again, with what it was started with.",
        "match": {},
        "match_related": [
            {"prefect.resource.role": role, "prefect.resource.name": "serve-model"} for role in ("flow", "deployment")
        ],
        "expect": list(ENDED_BY_ITSELF),
        "parameters": {
            name: _number(f"flow_run.parameters.get({name!r}, {default!r}) | tojson") for name, default in given.items()
        },
        # One that cannot start is not tried without a pause.
        "schedule_after": 5,
    }


def _reconcile_at_once() -> dict[str, Any]:
    return {
        "type": "event",
        "name": "a promotion crashed -> reconcile-runs",
        "description": "A promotion whose process died goes on at once, and not only by the schedule.",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": list(WAITING_FLOWS)},
        "expect": [CRASHED],
        "parameters": {},
    }


def _tell(name: str, event: str, kind: str) -> dict[str, Any]:
    return {
        "type": "event",
        "name": f"{name} -> notify-people",
        "description": "Tells the notification blocks of the policy that protects the alias.",
        "match": {"prefect-ml.kind": "model", "prefect-ml.alias": "*"},
        "expect": [event],
        "parameters": {
            "kind": kind,
            "name": _text("event.payload.name"),
            "alias": _text("event.payload.alias"),
            "version": _number("event.payload.version"),
            "actor": _text("event.payload.actor"),
            "reason": _text("event.payload.reason"),
        },
    }


def _text(expression: str) -> dict[str, Any]:
    return {"__prefect_kind": "jinja", "template": f"{{{{ {expression} }}}}"}


def _number(expression: str) -> dict[str, Any]:
    """A template renders text; what it says is read as JSON."""
    return {"__prefect_kind": "json", "value": _text(expression)}


def _need_pool(client: SyncPrefectClient, pool: str, *, create: bool) -> None:
    try:
        client.read_work_pool(pool)
    except ObjectNotFound:
        if not create:
            raise InvalidInputError(
                f"There is no work pool {pool!r}; add --create-pool, or make one with: "
                f"prefect work-pool create --type process {pool}"
            ) from None
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))


def _make(client: SyncPrefectClient, given: Mapping[str, Any]) -> Deployed:
    flow = _flow(given["entrypoint"])
    name = f"{flow.name}/{given['name']}"
    before = _known(client, name)
    paused = {each.slug for each in before.schedules if not each.active} if before else set()
    limit: Mapping[str, Any] = given.get("concurrency_limit", {})
    made = client.create_deployment(
        client.create_flow_from_name(flow.name),
        given["name"],
        schedules=[_schedule(each, paused) for each in given.get("schedules", ())],
        concurrency_limit=limit.get("limit"),
        concurrency_options=ConcurrencyOptions(collision_strategy=limit["collision_strategy"]) if limit else None,
        description=given["description"],
        work_pool_name=given["work_pool"]["name"],
        tags=given["tags"],
        entrypoint=given["entrypoint"],
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        pull_steps=[],
        enforce_parameter_schema=True,
        job_variables=before.job_variables if before else None,
    )
    for trigger in given.get("triggers", ()):
        _automate(client, made, trigger)
    return Deployed(
        name,
        given["entrypoint"],
        tuple(when(each) for each in given.get("schedules", ())),
        tuple(each["name"] for each in given.get("triggers", ())),
        before is None,
    )


def _flow(entrypoint: str) -> Flow[..., Any]:
    module, _, name = entrypoint.rpartition(".")
    return cast("Flow[..., Any]", getattr(importlib.import_module(module), name))


def _known(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _schedule(given: Mapping[str, Any], paused: set[str | None]) -> DeploymentScheduleCreate:
    when = {key: given[key] for key in ("cron", "interval", "timezone") if key in given}
    active = given["active"] and given["slug"] not in paused
    return DeploymentScheduleCreate.model_validate({"schedule": when, "slug": given["slug"], "active": active})


def when(schedule: Mapping[str, Any]) -> str:
    """A schedule of `shipped` in words."""
    off = "" if schedule["active"] else " (switched off)"
    if "interval" in schedule:
        return f"every {schedule['interval']} s{off}"
    return f"{schedule['slug']}: {schedule['cron']} {schedule['timezone']}{off}"


def _automate(client: SyncPrefectClient, deployment: UUID, given: Mapping[str, Any]) -> None:
    """Make the automation of a deployment, or update the one that is there; one that was switched off stays off."""
    trigger = DeploymentEventTrigger.model_validate(given)
    trigger.set_deployment_id(deployment)
    wanted = trigger.as_automation()
    related = client.read_resource_related_automations(f"prefect.deployment.{deployment}")
    known = [each for each in related if each.name == wanted.name]
    if not known:
        client.create_automation(wanted)
    for each in known:
        # Not by the client's own method, which sends the owner too: the server refuses that.
        said = wanted.model_dump(mode="json", exclude={"owner_resource"}) | {"enabled": each.enabled}
        client.request("PUT", "/automations/{id}", path_params={"id": each.id}, json=said)
