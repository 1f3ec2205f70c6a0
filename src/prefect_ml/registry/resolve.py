"""From a model URI to a verified model on this machine."""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import make_folder, temporary
from prefect_ml.artifacts.open import open_artifacts
from prefect_ml.entities import LoggedModelStatus
from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidNameError, NotFoundError
from prefect_ml.models.digest import SIGNATURE_FILE, folder_digest
from prefect_ml.models.first_reading import read_before_vouching
from prefect_ml.models.folder import LoadedModel, load_model
from prefect_ml.models.trust import Trust
from prefect_ml.models.uri import ModelUri, UriKind
from prefect_ml.store.places import open_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prefect_ml.artifacts.contract import ArtifactStore
    from prefect_ml.entities import LoggedModel, ModelVersion, Run
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

# How often a cached copy that another process keeps spoiling is thrown away.
_ATTEMPTS = 3
# An absolute path or a URI: what is relative would be another place in each process.
_PLACE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.\-]*:")
# A version may be a copy of a copy.
_MAX_COPIES = 20
# Logged models of one run that are looked at by name.
_MAX_OUTPUTS = 200


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a URI means at one moment.

    `generation` is the alias's when the URI names one, else 0. `digest` is the one recorded for the version,
    "" when none was. `source` is the URI of the model folder, and `root` the artifact root that it lies
    below, "" when unknown. `model_id` is the logged model that it is of. `store` is what opens these places; the
    settings of the process do when it is None.
    """

    uri: str
    source: str
    name: str | None = None
    version: int | None = None
    alias: str | None = None
    generation: int = 0
    digest: str = ""
    run_id: str | None = None
    root: str = ""
    model_id: str = ""
    store: Store | None = field(default=None, compare=False, repr=False)

    @property
    def origin(self) -> str:
        """The name under which an operator trusts it: `models:/<name>/<version>`, or the URI itself."""
        return self.uri if self.name is None else f"models:/{self.name}/{self.version}"


def resolve(store: Store, uri: str) -> ResolvedModel:
    """Look a model URI up.

    Raises:
        InvalidInputError: it is no model URI.
        NotFoundError: there is no such model, version, alias or run, or no version in the stage.
    """
    return _resolve(store, uri, 0)


def _resolve(store: Store, uri: str, copies: int) -> ResolvedModel:
    parsed = ModelUri.parse(uri)
    match parsed.kind:
        case UriKind.FOLDER:
            return ResolvedModel(uri=str(parsed), source=parsed.path)
        case UriKind.RUN:
            run = store.get_run(parsed.run_id)
            if (made := _logged_as(store, run, parsed.path)) is not None:
                return _of_logged(store, uri, made)
            source = f"{run.artifact_uri.rstrip('/')}/{parsed.path}"
            return ResolvedModel(uri=uri, source=source, run_id=run.run_id, root=run.artifact_uri, store=store)
        case UriKind.LOGGED_MODEL:
            return _of_logged(store, uri, store.get_logged_model(parsed.model_id))
        case UriKind.ALIAS:
            alias = store.get_alias(parsed.name, parsed.alias)
            version = store.get_model_version(parsed.name, alias.version)
            found = _of_version(store, uri, version, copies)
            return dataclasses.replace(found, alias=parsed.alias, generation=alias.generation)
        case UriKind.VERSION | UriKind.STAGE | UriKind.LATEST:
            return _of_version(store, uri, _version(store, parsed), copies)


def fetch(resolved: ResolvedModel, cache_folder: Path) -> Path:
    """A local copy of the model, verified against its digest; kept in `<cache_folder>/models/<digest>`.

    A copy that is there already is verified again in full. Several processes may fetch at once. A model whose
    digest was not recorded is copied anew each time and kept under the digest that it turns out to have.

    Raises:
        CorruptArtifactError: what the source holds has another digest than the version.
        NotFoundError: the source holds nothing.
    """
    models = cache_folder / "models"
    cached = models / resolved.digest.removeprefix("sha256:")
    if resolved.digest and _intact(cached, resolved.digest):
        return cached
    with _downloaded(resolved, models) as copy:
        digest = folder_digest(copy)
        if resolved.digest and digest != resolved.digest:
            raise CorruptArtifactError(
                f"The files of {resolved.uri!r} at {resolved.source!r} have the digest {digest}, "
                f"but {resolved.digest} was registered; "
                "restore them, or register the changed model as a new version."
            )
        return _publish(copy, models / digest.removeprefix("sha256:"), digest)


def is_kept(resolved: ResolvedModel, cache_folder: Path) -> bool:
    """Whether a copy of the model is in the cache, which `fetch` verifies and takes."""
    return bool(resolved.digest) and (cache_folder / "models" / resolved.digest.removeprefix("sha256:")).is_dir()


def settled(store: Store, resolved: ResolvedModel, cache_folder: Path) -> ResolvedModel:
    """What was resolved, with the digest of its files; a version without one gets it now, recorded and audited once.

    A client of another kind makes a version before or after its files and tells no digest, so it is computed when it
    is first needed. From then on a change of the files is found.

    Raises:
        ArtifactError: the client that logs it has not finished, or reading it ends the process that does.
        CorruptArtifactError: another process recorded the digest of other files meanwhile.
        NotFoundError: the source holds nothing.
    """
    if resolved.digest or resolved.name is None or resolved.version is None:
        return resolved
    _refuse_unfinished(store, resolved)
    folder = fetch(resolved, cache_folder)
    read_before_vouching(folder, resolved.origin)
    computed = f"sha256:{folder.name}"
    recorded = store.record_digest(resolved.name, resolved.version, computed).artifact_digest
    if recorded != computed:
        raise CorruptArtifactError(
            f"The files of {resolved.uri!r} at {resolved.source!r} have the digest {computed}, but {recorded} was "
            "recorded meanwhile; wait until they are uploaded, and register the model as a new version."
        )
    return dataclasses.replace(resolved, digest=recorded)


def _refuse_unfinished(store: Store, resolved: ResolvedModel) -> None:
    """No digest of half a model: clients say of a logged model when its files are there."""
    if not resolved.model_id:
        return
    with suppress(NotFoundError):  # deleted, while the version stays
        status = store.get_logged_model(resolved.model_id).status
        if status in (LoggedModelStatus.PENDING, LoggedModelStatus.UPLOAD_FAILED):
            raise ArtifactError(
                f"The logged model {resolved.model_id} of {resolved.uri!r} is {status}: its files are not all there. "
                "Try again when its client has finished, or log and register it again."
            )


def load(store: Store, uri: str, settings: Settings) -> LoadedModel:
    """Resolve, fetch and load. Trust counts in the URI as given or in `models:/<name>/<version>`."""
    resolved = resolve(store, uri)
    return load_resolved(resolved, settings)


def load_resolved(resolved: ResolvedModel, settings: Settings) -> LoadedModel:
    """Fetch and load what `resolve` found; raises as `fetch` and `load_model` do."""
    folder = fetch(resolved, settings.cache_folder)
    if settings.trusted_signers:
        fetch_signature(resolved, folder)
    trusted, signers = settings.trusted_origins, settings.trusted_signers
    origin = resolved.uri if Trust(resolved.uri, trusted).given else resolved.origin
    return load_model(
        folder, origin=origin, trusted_origins=trusted, trusted_signers=signers, vouched=bool(resolved.digest)
    )


def fetch_signature(resolved: ResolvedModel, folder: Path) -> None:
    """Take over the signature that the source has now: a model may be signed after its files were cached."""
    artifacts, name = place_of(resolved)
    with suppress(NotFoundError):
        found = artifacts.read(f"{name}/{SIGNATURE_FILE}" if name else SIGNATURE_FILE)
        with temporary(folder.parent) as (part, stream):
            stream.write(found)
            part.replace(folder / SIGNATURE_FILE)


def place_of(resolved: ResolvedModel) -> tuple[ArtifactStore, str]:
    """The artifacts that hold a model's files, and the name of its folder in them, "" for the root.

    Through the artifact root, where it is known, each file is also checked against the digest kept beside it.
    """
    root = resolved.root or resolved.source
    name = resolved.source[len(resolved.root.rstrip("/")) + 1 :] if resolved.root else ""
    return (open_artifacts(root) if resolved.store is None else open_place(resolved.store, root)), name


def _of_version(store: Store, uri: str, found: ModelVersion, copies: int) -> ResolvedModel:
    return ResolvedModel(
        uri=uri,
        source=_place(store, found, copies),
        name=found.name,
        version=found.version,
        digest=found.artifact_digest,
        run_id=found.run_id,
        model_id=found.model_id,
        store=store,
    )


def _place(store: Store, found: ModelVersion, copies: int) -> str:
    """Where the files of a version are, whose source may be another version, a logged model or a run's path."""
    if found.location or not found.source.startswith(("models:/", "runs:/")):
        return found.location or found.source
    if copies == _MAX_COPIES:
        raise NotFoundError(
            f"Version {found.version} of {found.name!r} is a copy of a copy that leads to no files; "
            "register the model again from its run."
        )
    return _resolve(store, found.source, copies + 1).source


def _of_logged(store: Store, uri: str, found: LoggedModel) -> ResolvedModel:
    place = found.artifact_uri
    return ResolvedModel(
        uri=uri, source=place, run_id=found.source_run_id or None, model_id=found.model_id, store=store
    )


def _logged_as(store: Store, run: Run, name: str) -> LoggedModel | None:
    """The newest logged model of a run by a name; MLflow's clients keep its files beside those of the run."""
    ids = [made.model_id for made in run.model_outputs][-_MAX_OUTPUTS:]
    found = []
    for model_id in ids:
        with suppress(NotFoundError):  # deleted meanwhile
            found.append(store.get_logged_model(model_id))
    named = [model for model in found if model.name == name]
    return max(named, key=lambda model: model.creation_timestamp, default=None)


def _version(store: Store, parsed: ModelUri) -> ModelVersion:
    if parsed.kind is UriKind.VERSION:
        return store.get_model_version(parsed.name, parsed.version)
    stages = () if parsed.stage is None else (parsed.stage,)
    found = store.latest_versions(parsed.name, stages)
    if not found:
        place = "no version" if parsed.stage is None else f"no version in the stage {parsed.stage}"
        raise NotFoundError(f"The model {parsed.name!r} has {place}; register one, or name a version or an alias.")
    return max(found, key=lambda version: version.version)


@contextmanager
def _downloaded(resolved: ResolvedModel, models: Path) -> Iterator[Path]:
    if not _PLACE.match(resolved.source):
        raise NotFoundError(
            f"The source {resolved.source!r} of {resolved.origin!r} is no place of files; register the model again."
        )
    make_folder(models)
    copy = models / f".{uuid.uuid4().hex}.partial"
    try:
        artifacts, name = place_of(resolved)
        artifacts.download(name, copy)
        if not copy.is_dir() or not any(copy.iterdir()):
            raise NotFoundError(f"There is no model folder at {resolved.source!r}; was the model logged there?")
        yield copy
    finally:
        _discard(copy)


def _publish(copy: Path, target: Path, digest: str) -> Path:
    """Give the copy its name; what has the name already is kept when it is as good, else thrown away."""
    for _ in range(_ATTEMPTS):
        try:
            copy.replace(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if _intact(target, digest):
                return target
            _discard(target)
        else:
            return target
    raise ArtifactError(f"The cached model {str(target)!r} cannot be replaced; delete it and try again.")


def _intact(folder: Path, digest: str) -> bool:
    try:
        return folder_digest(folder) == digest
    except (InvalidNameError, NotFoundError):  # a link in it, or not there
        return False


def _discard(folder: Path) -> None:
    """Move a folder out of the way at once, then delete it; gone already is fine."""
    grave = folder.with_name(f".{uuid.uuid4().hex}.discarded")
    try:
        folder.replace(grave)
    except FileNotFoundError:
        return
    if grave.is_dir():
        shutil.rmtree(grave)
    else:
        grave.unlink()
