"""From a model URI to a verified model on this machine."""

from __future__ import annotations

import errno
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import make_folder
from prefect_ml.artifacts.open import open_artifacts
from prefect_ml.errors import ArtifactError, CorruptArtifactError, InvalidNameError, NotFoundError
from prefect_ml.models.digest import folder_digest
from prefect_ml.models.folder import LoadedModel, load_model
from prefect_ml.models.trust import Trust
from prefect_ml.models.uri import ModelUri, UriKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prefect_ml.entities import ModelVersion
    from prefect_ml.settings import Settings
    from prefect_ml.store.contract import Store

# How often a cached copy that another process keeps spoiling is thrown away.
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a URI means at one moment.

    `generation` is the alias's when the URI names one, else 0. `digest` is the one recorded for the version,
    "" when none was. `source` is the URI of the model folder, and `root` the artifact root that it lies
    below, "" when unknown.
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
    parsed = ModelUri.parse(uri)
    match parsed.kind:
        case UriKind.FOLDER:
            return ResolvedModel(uri=str(parsed), source=parsed.path)
        case UriKind.RUN:
            root = store.get_run(parsed.run_id).artifact_uri
            source = f"{root.rstrip('/')}/{parsed.path}"
            return ResolvedModel(uri=uri, source=source, run_id=parsed.run_id, root=root)
        case UriKind.ALIAS:
            alias = store.get_alias(parsed.name, parsed.alias)
            version = store.get_model_version(parsed.name, alias.version)
            return _of_version(uri, version, alias=parsed.alias, generation=alias.generation)
        case UriKind.VERSION:
            return _of_version(uri, store.get_model_version(parsed.name, parsed.version))
        case UriKind.STAGE | UriKind.LATEST:
            return _of_version(uri, _newest(store, parsed))


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


def load(store: Store, uri: str, settings: Settings) -> LoadedModel:
    """Resolve, fetch and load. Trust counts in the URI as given or in `models:/<name>/<version>`."""
    resolved = resolve(store, uri)
    return load_resolved(resolved, settings)


def load_resolved(resolved: ResolvedModel, settings: Settings) -> LoadedModel:
    """Fetch and load what `resolve` found; raises as `fetch` and `load_model` do."""
    folder = fetch(resolved, settings.cache_folder)
    trusted = settings.trusted_origins
    origin = resolved.uri if Trust(resolved.uri, trusted).given else resolved.origin
    return load_model(folder, origin=origin, trusted_origins=trusted)


def _of_version(uri: str, found: ModelVersion, *, alias: str | None = None, generation: int = 0) -> ResolvedModel:
    return ResolvedModel(
        uri=uri,
        source=found.source,
        name=found.name,
        version=found.version,
        alias=alias,
        generation=generation,
        digest=found.artifact_digest,
        run_id=found.run_id,
    )


def _newest(store: Store, parsed: ModelUri) -> ModelVersion:
    stages = () if parsed.stage is None else (parsed.stage,)
    found = store.latest_versions(parsed.name, stages)
    if not found:
        place = "no version" if parsed.stage is None else f"no version in the stage {parsed.stage}"
        raise NotFoundError(f"The model {parsed.name!r} has {place}; register one, or name a version or an alias.")
    return max(found, key=lambda version: version.version)


@contextmanager
def _downloaded(resolved: ResolvedModel, models: Path) -> Iterator[Path]:
    make_folder(models)
    copy = models / f".{uuid.uuid4().hex}.partial"
    # Through the artifact root, where it is known, each file is also checked against the digest kept beside
    # it.
    root = resolved.root or resolved.source
    name = resolved.source[len(resolved.root.rstrip("/")) + 1 :] if resolved.root else ""
    try:
        open_artifacts(root).download(name, copy)
        if not copy.is_dir():
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
