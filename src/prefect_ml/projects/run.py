"""Running a plan within a run: what is recorded before, the command, and what is recorded after."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prefect_ml.entities import RunStatus
from prefect_ml.errors import InvalidInputError, PrefectMLError
from prefect_ml.models.this_platform import this_platform
from prefect_ml.projects.bundle import put_bundle
from prefect_ml.projects.child import child_environment, ourselves_in
from prefect_ml.projects.command import fill
from prefect_ml.projects.data import data_digests
from prefect_ml.projects.downloads import download
from prefect_ml.projects.locks import ALONG
from prefect_ml.projects.plan import Plan, build_environment, bundles_of, make_plan
from prefect_ml.projects.process import Ended, Tail, run_command
from prefect_ml.projects.source import work_copy
from prefect_ml.projects.uri import ProjectKind
from prefect_ml.tracking.capture.git import git_tags
from prefect_ml.tracking.files import keep_soon
from prefect_ml.tracking.inherited import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from prefect_ml.projects.environments import Built
    from prefect_ml.projects.request import Request
    from prefect_ml.settings import Settings
    from prefect_ml.tracking.run import ActiveRun

    # Makes a tracking server for an MLflow client: its URL and token.
    Served = Callable[[Settings], AbstractContextManager[tuple[str, str]]]

# Where a run keeps what it takes to have it again.
LOCK_FILE = "project/lock.txt"
OUTPUT_FILE = "project/output.txt"
ABOUT_FILE = "project/project.json"
DIGEST_TAG = "prefect_ml.project.bundle"
LOCK_TAG = "prefect_ml.project.lock"
URI_TAG = "prefect_ml.project.uri"
# MLflow's names of the same (https://mlflow.org/docs/latest/ml/tracking/#system-tags).
ENTRY_POINT_TAG = "mlflow.project.entryPoint"
_SHELL_SIGNALS = {2: RunStatus.KILLED, 15: RunStatus.KILLED}


class ProjectFailedError(PrefectMLError):
    """The command of a project ended with another exit code than 0.

    Attributes:
        ended: how it did.
    """

    def __init__(self, entry_point: str, ended: Ended) -> None:
        super().__init__(f"The entry point {entry_point!r} {_said(ended)}; its output says why.")
        self.entry_point = entry_point
        self.ended = ended

    def __reduce__(self) -> tuple[type[ProjectFailedError], tuple[str, Ended]]:
        return ProjectFailedError, (self.entry_point, self.ended)


def keep_source(plan: Plan, request: Request, settings: Settings, tell: Callable[[str], None]) -> str | None:
    """Keep a folder as a bundle, so that the run can be had again; its digest.

    None for what has a commit or is a bundle already, where it is not wanted, and where it cannot be, which is told.
    """
    if not request.keep_source or plan.source.uri.kind is not ProjectKind.FOLDER:
        return None
    try:
        return put_bundle(plan.source.root, bundles_of(settings))
    except InvalidInputError as error:
        tell(f"The source is not kept, so this run cannot be had again elsewhere: {error}")
        return None


def record_before(run: ActiveRun, plan: Plan, bundle: str | None) -> None:
    """Record what is about to run: the source, pinned, and the parameters; `bundle` is what `keep_source` gave."""
    source = plan.source
    tags = {
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": str(source.uri),
        ENTRY_POINT_TAG: plan.entry_point.name,
        "mlflow.project.backend": "prefect-ml",
        URI_TAG: str(source.uri),
    }
    if source.commit is not None:
        tags |= {
            "mlflow.source.git.commit": source.commit,
            "mlflow.source.git.repoURL": source.uri.location,
            "mlflow.gitRepoURL": source.uri.location,
        }
    elif source.uri.kind is ProjectKind.FOLDER:
        tags |= git_tags(str(source.folder)) | ({} if bundle is None else {DIGEST_TAG: bundle})
    else:
        tags[DIGEST_TAG] = source.uri.location
    run.set_tags(tags)
    run.log_params(plan.values)


def execute(
    run: ActiveRun, plan: Plan, built: Built, request: Request, settings: Settings, *,
    tell: Callable[[str], None], serve: Served,
) -> Ended:  # fmt: skip
    """Run the command in the environment, within the run; it records there itself, by our SDK or MLflow's client.

    Args:
        run: that the command records in.
        plan: what runs.
        built: where.
        request: what was asked.
        settings: of the store.
        tell: gets each line of its output.
        serve: makes a tracking server for an MLflow client, where the store is none.

    Returns:
        How it ended, whatever that was.
    """
    tail = Tail()
    with tempfile.TemporaryDirectory(prefix="prefect-ml-project-") as scratch:
        source = plan.source
        if source.uri.kind is not ProjectKind.FOLDER:
            source = replace(source, folder=work_copy(source, Path(scratch) / "work"))
        values = _fetched(plan, Path(scratch))
        _record_environment(run, plan, built, request, values)
        command = fill(plan.entry_point, values)
        needs_server = built.has_mlflow and not _is_server(settings)
        served = serve(settings) if needs_server else nullcontext(("", ""))
        with served as (url, token):
            if needs_server or _is_server(settings):
                # A client of MLflow's asks for the run; our own brings what is recorded here along.
                run.flush(patient=False)
            own = _tracking(run, request, settings, url, token)
            # A command that prints its environment prints the store's token or password, too.
            password = urlsplit(settings.resolved_store_url).password or ""
            hidden = _Hidden((*request.secrets.values(), own.get("MLFLOW_TRACKING_TOKEN", ""), password))

            def told(line: str) -> None:
                shown = hidden(line)
                tail.add(shown)
                tell(shown)

            tracking = own | dict(command.environment) | dict(request.secrets)
            words = _with_python(command.words, built)
            along = built.lock is not None and ALONG in built.lock.splitlines()[:2]
            further = ourselves_in(Path(scratch) / "ours") if along else None
            environment = child_environment(built, source, tracking, further)
            try:
                return run_command(
                    words, folder=source.folder, environment=environment, tell=told, grace=request.grace,
                    begun=lambda: run.flush(0, patient=False),
                )  # fmt: skip
            finally:
                keep_soon(run.outlet, {OUTPUT_FILE: tail.text().encode("utf-8", "surrogatepass")})


def run_here(
    run: ActiveRun, request: Request, settings: Settings, *, tell: Callable[[str], None], serve: Served
) -> Ended:
    """All of it in this process and without an orchestrator: plan, build, execute.

    Raises:
        ProjectFailedError: the command failed.
        PrefectMLError: it could not be started; see `make_plan` and `build_environment`.
    """
    plan = make_plan(request, settings, tell)
    record_before(run, plan, keep_source(plan, request, settings, tell))
    built = build_environment(plan, request, settings, tell)
    ended = execute(run, plan, built, request, settings, tell=tell, serve=serve)
    if ended.code != 0:
        raise ProjectFailedError(request.entry_point, ended)
    return ended


def status_of(ended: Ended) -> RunStatus:
    """How the run of a command ends: KILLED where somebody stopped it (SIGINT, SIGTERM), else FAILED or FINISHED."""
    if ended.code == 0:
        return RunStatus.FINISHED
    return _SHELL_SIGNALS.get(ended.signal or 0, RunStatus.FAILED)


def _said(ended: Ended) -> str:
    match ended.signal:
        case None:
            return f"ended with the exit code {ended.code}"
        case 9:
            return "was killed (SIGKILL), most likely because memory ran out"
        case number:
            return f"was ended by the signal {number}"


def _record_environment(run: ActiveRun, plan: Plan, built: Built, request: Request, values: Mapping[str, str]) -> None:
    run.set_tag("mlflow.project.env", built.kind)
    about: dict[str, Any] = {
        "project": plan.project,
        "uri": str(plan.source.uri),
        "entry_point": plan.entry_point.name,
        "parameters": dict(plan.values),
        "environment": built.kind,
        "secrets": sorted(request.secrets),
        "data": data_digests(plan.entry_point, values),
        "platform": this_platform(),
        "python": sys.version.split()[0] if built.kind == "local" else None,
    }
    kept = {ABOUT_FILE: json.dumps(about, indent=2, sort_keys=True).encode()}
    if built.lock is not None:
        kept[LOCK_FILE] = built.lock.encode()
    keep_soon(run.outlet, kept)


def _fetched(plan: Plan, scratch: Path) -> dict[str, str]:
    values = dict(plan.values)
    for number, name in enumerate(plan.downloads):
        folder = scratch / f"data-{number}"
        folder.mkdir()
        values[name] = str(download(values[name], folder))
    return values


def _with_python(words: tuple[str, ...], built: Built) -> tuple[str, ...]:
    """`python` is the environment's; on a PATH that has only `python3`, too."""
    return (str(built.python), *words[1:]) if words[0] in {"python", "python3"} else words


def _is_server(settings: Settings) -> bool:
    return settings.resolved_store_url.lower().startswith(("http://", "https://"))


def _tracking(run: ActiveRun, request: Request, settings: Settings, url: str, token: str) -> dict[str, str]:
    found = {
        VARIABLE: run.run_id,
        "PREFECT_ML_HOME": str(settings.home.absolute()),
        "PREFECT_ML_STORE_URL": settings.resolved_store_url,
        "MLFLOW_RUN_ID": run.run_id,
        "MLFLOW_EXPERIMENT_NAME": request.experiment,
    }
    if "://" not in settings.resolved_artifact_root:
        found["PREFECT_ML_ARTIFACT_ROOT"] = str(Path(settings.resolved_artifact_root).absolute())
    if _is_server(settings):
        given = settings.server_token
        url, token = settings.resolved_store_url, given.get_secret_value() if given else ""
    if url:
        found["MLFLOW_TRACKING_URI"] = url
    if url and token:
        found["MLFLOW_TRACKING_TOKEN"] = token
    return found


class _Hidden:
    """Puts stars in the place of secrets; of short ones, which would be found everywhere, nothing is hidden."""

    _SHORTEST = 4

    def __init__(self, secrets: Iterable[str]) -> None:
        whole = {line for secret in secrets for line in (secret, *secret.splitlines())}
        self._secrets = sorted((each for each in whole if len(each) >= self._SHORTEST), key=len, reverse=True)

    def __call__(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, "********")
        return line
