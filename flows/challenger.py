"""The scheduled flow that has newer versions challenge the champions."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any, cast

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from prefect_ml.blocks.server import named_store
from prefect_ml.entities import ModelVersion, PromotionRequest, RequestKind
from prefect_ml.errors import NotFoundError
from prefect_ml.registry.description import escape
from prefect_ml.store.contract import Store

_PAGE = 100


@flow(name="challenge-champions", flow_run_name="challenge @{alias} of {models}")
def challenge_champions(  # noqa: PLR0917 - the parameters of a flow are a form, filled in by name
    models: str = "*",
    alias: str = "champion",
    challenger: str | None = None,
    requester: str = "challenge-champions",
    deployment: str = "promote-model/promote-model",
    tracking_server: str | None = None,
) -> list[dict[str, Any]]:
    """Start a promotion for each model with a version that is newer than its champion and was not judged before.

    A model without a champion is left alone. What was asked for under the policy in force is not asked for again,
    however it ended. The promotions run by themselves; this flow does not wait for them.

    Args:
        models: A pattern over model names, with `*` and `?`.
        alias: The alias of the champion.
        challenger: The alias of the versions that challenge; the newest version of each model when empty.
        requester: Who asks, for the request; under four eyes, nobody of this name may decide.
        deployment: The deployment that promotes.
        tracking_server: A TrackingServer block by name, for the promotions too; the settings of the process when empty.

    Returns:
        For each model with a champion: `name`, `champion`, `challenger` (versions), `why` nothing was started, ""
        when something was, and `flow_run_id`.
    """
    store = named_store(tracking_server)
    found = []
    for name in names_of(store, models):
        champion = version_at(store, name, alias)
        if champion is not None:
            wanted = _challenger(store, name, challenger)
            why = _why_not(store, champion, wanted, alias)
            told = {"name": name, "champion": champion.version, "challenger": wanted and wanted.version, "why": why}
            if wanted is not None and not why:
                parameters = {
                    "name": name,
                    "version": wanted.version,
                    "alias": alias,
                    "requester": requester,
                    "tracking_server": tracking_server,
                }
                told["flow_run_id"] = start_promotion(deployment, parameters, _policy_version(store, name, alias))
            found.append({"flow_run_id": None, **told})
    create_markdown_artifact(_markdown(found, alias), key="challenged", description=f"Champions of {models}")
    started = sum(each["flow_run_id"] is not None for each in found)
    get_run_logger().info("%d champions, %d challenged.", len(found), started)
    return found


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[1, 5, 15], task_run_name="promote {parameters[name]}")
def start_promotion(deployment: str, parameters: dict[str, Any], policy_version: str) -> str:
    """Start a promotion once for a version, an alias and a version of the policy; the id of its flow run."""
    given = {key: value for key, value in parameters.items() if value is not None}
    key = f"challenge {parameters['name']} {parameters['version']} {parameters['alias']} {policy_version}"
    # No subflow: Prefect refuses to suspend one, and a promotion waits for people.
    started = cast(
        "FlowRun", run_deployment(deployment, parameters=given, timeout=0, as_subflow=False, idempotency_key=key)
    )
    return str(started.id)


def names_of(store: Store, pattern: str) -> Iterator[str]:
    """The names of the registered models that a shell-style pattern matches."""
    token: str | None = None
    while True:
        page = store.search_registered_models(max_results=_PAGE, page_token=token)
        yield from (model.name for model in page.items if fnmatch.fnmatchcase(model.name, pattern))
        token = page.next_token
        if token is None:
            return


def version_at(store: Store, name: str, alias: str) -> ModelVersion | None:
    """The version that an alias is on, if it is on one."""
    try:
        return store.get_model_version(name, store.get_alias(name, alias).version)
    except NotFoundError:
        return None


def _challenger(store: Store, name: str, alias: str | None) -> ModelVersion | None:
    if alias:
        return version_at(store, name, alias)
    return max(store.latest_versions(name), key=lambda version: version.version, default=None)


def _why_not(store: Store, champion: ModelVersion, wanted: ModelVersion | None, alias: str) -> str:
    if wanted is None:
        return "there is no challenger"
    if wanted.version <= champion.version:
        return "the champion is the newest"
    policy = _policy_version(store, champion.name, alias)
    for asked in _requests_of(store, champion.name):
        same = (asked.kind, asked.version, asked.alias) == (RequestKind.PROMOTION, wanted.version, alias)
        if same and _policy_of(asked) == policy:
            return f"it was judged before: {asked.status}"
    return ""


def _requests_of(store: Store, name: str) -> Iterator[PromotionRequest]:
    last = None
    while page := store.list_requests(name=name, max_results=_PAGE, before=last):
        yield from page
        last = page[-1].request_id


def _policy_version(store: Store, name: str, alias: str) -> str:
    policy = store.policy_for(name, alias)
    return "" if policy is None else f"{policy.name} {policy.version}"


def _policy_of(request: PromotionRequest) -> str:
    return f"{request.policy} {request.policy_version}"


def _markdown(found: list[dict[str, Any]], alias: str) -> str:
    lines = [f"## Champions (@{escape(alias)}) and their challengers", "", "| model | champion | challenger | |"]
    lines.append("|---|---:|---:|---|")
    for each in found:
        outcome = f"promotion started: {each['flow_run_id']}" if each["flow_run_id"] else each["why"]
        version = "" if each["challenger"] is None else each["challenger"]
        lines.append(f"| {escape(each['name'])} | {each['champion']} | {version} | {escape(outcome)} |")
    return "\n".join(lines) + "\n"
