"""The URIs that name a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from prefect_ml.artifacts.names import split_name
from prefect_ml.artifacts.open import local_path
from prefect_ml.entities import Stage
from prefect_ml.errors import InvalidInputError, InvalidNameError

_FORMS = (
    "'models:/<name>/<version>', 'models:/<name>@<alias>', 'models:/<name>/<stage>', "
    "'models:/<name>/latest', 'models:/m-<id>', 'runs:/<run id>/<path>' or a folder"
)
_VERSION = re.compile(r"[0-9]{1,10}", re.ASCII)
# The id of a logged model; a registered one is never named without version or alias.
_LOGGED = re.compile(r"m-[^/:@]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")


class UriKind(StrEnum):
    VERSION = "version"
    ALIAS = "alias"
    STAGE = "stage"
    LATEST = "latest"
    LOGGED_MODEL = "logged model"
    RUN = "run"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class ModelUri:
    """A parsed URI; only the fields of its kind are set."""

    kind: UriKind
    name: str = ""
    version: int = 0
    alias: str = ""
    stage: Stage | None = None
    run_id: str = ""
    path: str = ""
    model_id: str = ""

    @classmethod
    def parse(cls, uri: str) -> ModelUri:
        """Parse a model URI; nothing is percent-decoded.

        Raises:
            InvalidInputError: it has none of the known forms.
        """
        if uri.startswith("models:"):
            return cls._registered(uri)
        if uri.startswith("runs:"):
            return cls._of_run(uri)
        scheme = _SCHEME.match(uri)
        if not uri or (scheme and not uri.startswith("file:")):
            raise InvalidInputError(f"{uri!r} is no model URI; use {_FORMS}.")
        return cls(UriKind.FOLDER, path=str(local_path(uri)))

    @classmethod
    def _registered(cls, uri: str) -> ModelUri:
        rest = uri.removeprefix("models:/")
        if _LOGGED.fullmatch(rest):
            return cls(UriKind.LOGGED_MODEL, model_id=rest)
        name, _, tail = rest.rpartition("/") if "/" in rest else rest.rpartition("@")
        if rest == uri or not name or not tail or "/" in name or ("/" in rest and "@" in tail):
            raise InvalidInputError(f"{uri!r} names no registered model; use {_FORMS}.")
        if "/" not in rest:
            return cls(UriKind.ALIAS, name=name, alias=tail)
        if _VERSION.fullmatch(tail) and int(tail) > 0:
            return cls(UriKind.VERSION, name=name, version=int(tail))
        if tail.lower() == "latest":
            return cls(UriKind.LATEST, name=name)
        stage = next((stage for stage in Stage if stage.value.lower() == tail.lower()), None)
        if stage is None:
            raise InvalidInputError(
                f"{tail!r} in {uri!r} is neither a version from 1, 'latest', nor one of the stages "
                f"{', '.join(Stage)}; an alias is written 'models:/{name}@{tail}'."
            )
        return cls(UriKind.STAGE, name=name, stage=stage)

    @classmethod
    def _of_run(cls, uri: str) -> ModelUri:
        run_id, _, path = uri.removeprefix("runs:/").partition("/")
        if not uri.startswith("runs:/") or not run_id or not path:
            raise InvalidInputError(f"{uri!r} names no model of a run; write 'runs:/<run id>/<path>'.")
        try:
            split_name(path)
        except InvalidNameError as error:
            raise InvalidInputError(f"{uri!r} names no model of a run: {error}") from error
        return cls(UriKind.RUN, run_id=run_id, path=path)

    def __str__(self) -> str:
        match self.kind:
            case UriKind.VERSION:
                return f"models:/{self.name}/{self.version}"
            case UriKind.ALIAS:
                return f"models:/{self.name}@{self.alias}"
            case UriKind.STAGE | UriKind.LATEST:
                return f"models:/{self.name}/{self.stage or 'latest'}"
            case UriKind.LOGGED_MODEL:
                return f"models:/{self.model_id}"
            case UriKind.RUN:
                return f"runs:/{self.run_id}/{self.path}"
            case UriKind.FOLDER:
                return self.path
