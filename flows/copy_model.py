"""The flow that copies a model version from one environment to another, such as from staging to production."""

from __future__ import annotations

from getpass import getuser
from typing import Any, NamedTuple

from prefect import Task, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from prefect_ml.blocks.server import named_store
from prefect_ml.entities import ModelVersion
from prefect_ml.errors import InvalidInputError, StoreUnavailableError
from prefect_ml.flowruns import announced
from prefect_ml.moving.environments import Copied, asked_already, copy_versions, holds
from prefect_ml.store.contract import Store

_PROMOTE = "promote-model/promote-model"


@flow(name="copy-model", flow_run_name="copy {model_uri}")
def copy_model(  # noqa: PLR0917  the parameters of a flow are a form, filled in by name
    model_uri: str,
    origin: str | None = None,
    target: str | None = None,
    promote_to: str | None = None,
    stage: str | None = None,
    requester: str | None = None,
    aliases: bool = False,
    threads: int = 8,
    promotion: str = _PROMOTE,
) -> Any:
    """Copy a version with lineage, files and evidence to another server, verify it, and ask for its promotion there.

    What comes: the version under its number, its run with attempts, steps, curves and data sets, the runs around it,
    its logged model, the models that it was made of, and all files. Their digest is computed anew at the target and
    must be the origin's. Requests, gate results, decisions and policies of the origin come as what the origin says:
    people see them, and the policy of the target counts none of them.

    It can be run again at any time, and goes on where it was. With `promote_to`, it ends in a request at the target:
    where `promotion` is a deployment of `promote-model` that reaches the target, it is started; else the gates are
    judged here, and the request waits for people.

    Args:
        model_uri: `models:/<name>/<version>`, `models:/<name>@<alias>`, or `models:/<name>` for all versions.
        origin: A TrackingServer block by name, or a URL without a password; the settings of the process when empty.
        target: The same, of where it comes to.
        promote_to: The alias at the target that the version asks for; nothing is asked for when empty.
        stage: A stage that the version enters with that alias.
        requester: Who copies and asks; the user of the process when empty.
        aliases: Whether unprotected aliases and stages of the origin come too.
        threads: Runs that are carried at once.
        promotion: The deployment that is started for `promote_to`, as flow/deployment. The target must be a block then.

    Returns:
        The report as a dict, with `versions` (name, version, digest) and, with `promote_to`, `promotion`: the id of
        the `request` or of the `flow_run`, or None where the alias is on the version already.

    Raises:
        InvalidInputError: origin and target are one, a URL has a password in it, or `promote_to` is asked of several
            versions.
        NotFoundError: there is no such version.
        AlreadyExistsError: the target has another model under that number.
        CorruptArtifactError: the files at the target are not those of the origin.
    """
    actor = requester or getuser()
    there, here = named_store(origin), named_store(target)
    copied = transfer(there, here, model_uri, actor=actor, aliases=aliases, threads=threads)
    create_markdown_artifact(copied.report.markdown(), key="copy-model", description=f"From {copied.report.origin}")
    told = copied.document()
    if promote_to:
        if len(copied.versions) != 1:
            raise InvalidInputError(
                f"{len(copied.versions)} versions were copied; name the one that asks for an alias."
            )
        wanted = _Wanted(promote_to, stage, actor, target if target and ":" not in target else None)
        told["promotion"] = _ask(here, copied.versions[0], wanted, promotion if wanted.block or not target else "")
    if copied.report.complete:
        return told
    conflicts = f"{len(copied.report.conflicts)} conflicts, {len(copied.report.failures)} failures"
    get_run_logger().warning("Not everything came: %s. See the artifact of this run.", conflicts)
    return Completed(name="Incomplete", message=f"Not everything came: {conflicts}.", data=told)


def _was_away(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001  Prefect's shape
    """Whether a copy failed only because a server could not be reached."""
    return isinstance(state.result(raise_on_failure=False), StoreUnavailableError)


@task(
    cache_policy=NO_CACHE,
    retries=5,
    retry_delay_seconds=[1, 5, 15, 60, 300],
    retry_condition_fn=_was_away,
    task_run_name="copy {model_uri}",
)
def transfer(origin: Store, target: Store, model_uri: str, *, actor: str, aliases: bool, threads: int) -> Copied:
    """Copy what is not there yet; a retry goes on where the attempt before it ended."""
    return copy_versions(origin, target, model_uri, actor=actor, aliases=aliases, threads=threads)


class _Wanted(NamedTuple):
    """What is asked of the target, and the block that it is; None where it is that of the settings, or a URL."""

    alias: str
    stage: str | None
    requester: str
    block: str | None


def _ask(here: Store, version: ModelVersion, wanted: _Wanted, deployment: str) -> dict[str, str] | None:
    """Ask the target for the alias, once for the same files; by the deployment, where it is one that can reach it."""
    alias, key = wanted.alias, f"copy-{_run_id()}-{wanted.alias}"
    if holds(here, version, alias):
        get_run_logger().info("@%s of %s is version %d already.", alias, version.name, version.version)
        return None
    if (asked := asked_already(here, version, alias)) is not None:
        return {"request": asked.request_id}
    if deployment and _is_deployed(deployment):
        started: Any = run_deployment(
            deployment,
            parameters={
                "name": version.name,
                "version": version.version,
                "alias": alias,
                "stage": wanted.stage,
                "requester": wanted.requester,
                "tracking_server": wanted.block,
            },
            timeout=0,
            # Prefect lets no subflow suspend, and this one waits for people.
            as_subflow=False,
            idempotency_key=key,
        )
        return {"flow_run": str(started.id)}
    request = announced.request_promotion(
        here, version.name, version.version, alias, requester=wanted.requester, key=key, stage=wanted.stage
    )
    return {"request": request.request_id}


def _is_deployed(name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(name)
        except ObjectNotFound:
            return False
    return True


def _run_id() -> str:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("copy_model is a flow: call it, not its function, so that it has a flow run.")
    return str(context.flow_run.id)
