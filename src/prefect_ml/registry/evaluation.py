"""The evaluation set of a gate: found only where the operator keeps such sets, and pinned by its digest."""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from prefect_ml.artifacts.durable import make_folder
from prefect_ml.artifacts.names import resolve, split_name
from prefect_ml.artifacts.open import local_path
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.registry.gate import Text
from prefect_ml.registry.kept import forget_unused, noted
from prefect_ml.settings import Settings
from prefect_ml.store.contract import Store
from prefect_ml.store.places import open_place

FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "lines", ".ndjson": "lines", ".arrow": "arrow",
    ".feather": "arrow", ".ipc": "arrow",
}  # fmt: skip
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")
_RUN = re.compile(r"runs:/([^/]+)/(.+)", re.DOTALL)


class EvaluationSet(BaseModel):
    """Where an evaluation set is, and what is in it.

    Attributes:
        uri: `runs:/<run id>/<file>`, `mlflow-artifacts:/<file>`, or a path or URL below a folder of the setting
            `evaluation_folders` or below the artifact root; its ending tells the format (`FORMATS`).
        digest: SHA-256 of the file (`sha256sum`), as "sha256:<hex>".
        label: the column that is to be predicted.
        features: the columns that models are given; all but the label when empty. A model with a signature takes its
            own among them.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    uri: Annotated[str, Field(min_length=1, max_length=1000)]
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    label: Text
    features: Annotated[tuple[Text, ...], Field(strict=False)] = ()

    @field_validator("uri")
    @classmethod
    def _is_known(cls, uri: str) -> str:
        if PurePosixPath(uri).suffix.lower() not in FORMATS:
            raise ValueError(f"its ending must be one of {', '.join(FORMATS)}")
        return uri


def fetch_set(wanted: EvaluationSet, store: Store, settings: Settings) -> Path:
    """A local copy of the file, whose digest is that of the specification; kept in `<cache_folder>/evaluation`.

    Raises:
        InvalidInputError: the URI leads to where the operator keeps no evaluation sets.
        NotFoundError: nothing is there.
        CorruptArtifactError: what is there has another digest.
    """
    kept = _kept(wanted, settings)
    if noted(kept) and _digest(kept) == wanted.digest:
        return kept
    found = current_set(wanted, store, settings)
    if found.digest != wanted.digest:
        raise CorruptArtifactError(
            f"The evaluation set {wanted.uri!r} has the digest {found.digest}, but the policy names {wanted.digest}; "
            "restore the file, or have the policy changed."
        )
    return kept


def current_set(wanted: EvaluationSet, store: Store, settings: Settings) -> EvaluationSet:
    """The set with the digest that its file has by now, which is fetched anew.

    Raises:
        InvalidInputError: the URI leads to where the operator keeps no evaluation sets.
        NotFoundError: nothing is there.
    """
    folder = settings.cache_folder / "evaluation"
    make_folder(folder)
    copy = folder / f".{uuid.uuid4().hex}.partial"
    try:
        root, name = _place(wanted.uri, store, settings)
        open_place(store, root).download(name, copy)
        if not copy.is_file():
            raise NotFoundError(f"The evaluation set {wanted.uri!r} is no file; name one.")
        found = wanted.model_copy(update={"digest": _digest(copy)})
        copy.replace(_kept(found, settings))
        forget_unused(folder)
    finally:
        if copy.is_dir():
            shutil.rmtree(copy)
        copy.unlink(missing_ok=True)
    return found


def _kept(wanted: EvaluationSet, settings: Settings) -> Path:
    name = f"{wanted.digest.removeprefix('sha256:')}{PurePosixPath(wanted.uri).suffix.lower()}"
    return settings.cache_folder / "evaluation" / name


def _place(uri: str, store: Store, settings: Settings) -> tuple[str, str]:
    """The root that an evaluation set lies below, and its name there."""
    if match := _RUN.fullmatch(uri):
        split_name(match[2])
        return store.get_run(match[1]).artifact_uri, match[2]
    if uri.startswith("mlflow-artifacts:/"):
        return "mlflow-artifacts:/", "/".join(split_name(uri.removeprefix("mlflow-artifacts:/")))
    roots = (*settings.evaluation_folders, settings.resolved_artifact_root)
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme.group().lower() == "file:":
        path = local_path(uri)
        local = (local_path(root) for root in roots if not _elsewhere(root))
        for root in local:
            if path.is_relative_to(root) and path != root:
                resolve(root, path.relative_to(root).as_posix())
                return str(root), path.relative_to(root).as_posix()
    else:
        for place in filter(_elsewhere, roots):
            begin = f"{place.rstrip('/')}/"
            if uri.startswith(begin):
                return place, "/".join(split_name(uri.removeprefix(begin)))
    raise InvalidInputError(
        f"Evaluation sets are not read from {uri!r}; keep it as an artifact of a run (runs:/<run id>/<file>), or below "
        "a folder of the setting PREFECT_ML_EVALUATION_FOLDERS."
    )


def _elsewhere(root: str) -> bool:
    return (scheme := _SCHEME.match(root)) is not None and scheme.group().lower() != "file:"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
