"""Artifacts of a run: where the store is away they wait on this machine."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.names import split_name
from prefect_ml.errors import ArtifactError, InvalidInputError, StoreUnavailableError
from prefect_ml.tracking.staged import deliver_staged, put, replace_waiting, stage, stage_small

if TYPE_CHECKING:
    from prefect_ml.store.contract import Store
    from prefect_ml.tracking.outlet import Outlet

logger = logging.getLogger(__name__)


def keep(outlet: Outlet, name: str, source: Path | bytes) -> bool:
    """Put a file or folder into the run's artifacts, or let it wait; whether it is where it belongs."""
    outlet.name("artifact", [name])
    told = outlet.asking.in_vain
    try:
        with outlet.asking.once():
            _put(outlet, name, source)
    except StoreUnavailableError as error:
        _wait(outlet, name, source, error, told=told)
        return False
    replace_waiting(outlet.folder, name, source)
    return True


def keep_soon(outlet: Outlet, contents: Mapping[str, bytes]) -> None:
    """Keep small files, which wait beside the journal until the store was reached in the background; nobody waits.

    Args:
        outlet: of the run.
        contents: by name.
    """
    for name in contents:
        split_name(name)
    outlet.name("artifact", list(contents))
    try:
        stage_small(outlet.folder, contents)
    except OSError as error:
        for name in contents:
            outlet.lose_artifact()
            logger.warning("The artifact %r of run %s is lost: %s", name, outlet.run_id, error)
        return
    outlet.delivery.later(lambda store: _deliver(outlet.folder, store))


def _deliver(folder: Path, store: Store | None) -> None:
    if store is not None:
        try:
            deliver_staged(store, folder)
        except StoreUnavailableError as error:
            logger.debug("What waits in %s goes on waiting: %s", folder, error)


def _put(outlet: Outlet, name: str, source: Path | bytes) -> None:
    try:
        put(open_artifacts(outlet.artifact_uri), name, source)
    except ArtifactError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise StoreUnavailableError(str(error)) from error


def log_artifact(outlet: Outlet, path: str | Path, folder: str) -> None:
    source = Path(path)
    if not source.is_file():
        raise InvalidInputError(f"There is no file {str(source)!r}; for a folder use log_artifacts.")
    keep(outlet, _below(folder, source.name), source)


def log_artifacts(outlet: Outlet, path: str | Path, folder: str) -> None:
    source = Path(path)
    if not source.is_dir():
        raise InvalidInputError(f"There is no folder {str(source)!r}; for a file use log_artifact.")
    if folder:
        split_name(folder)
    keep(outlet, folder, source)


def log_text(outlet: Outlet, text: str, name: str) -> None:
    if not isinstance(text, str):
        raise InvalidInputError(f"log_text takes text, not {type(text).__name__}; for plain data use log_dict.")
    split_name(name)
    keep(outlet, name, text.encode("utf-8", "surrogatepass"))


def log_dict(outlet: Outlet, content: Any, name: str) -> None:
    if not isinstance(content, Mapping | list | tuple):
        raise InvalidInputError(f"log_dict takes a mapping or a list, not {type(content).__name__}.")
    split_name(name)
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2
    try:
        data = orjson.dumps(content, default=str, option=options)
    except TypeError as error:
        raise InvalidInputError(f"The content of {name!r} is no plain data: {error}.") from error
    if PurePosixPath(name).suffix in (".yaml", ".yml"):
        import yaml  # noqa: PLC0415 - only those who use it pay for its import

        plain = yaml.safe_dump(orjson.loads(data), allow_unicode=True, sort_keys=False)
        data = plain.encode()
    keep(outlet, name, data)


def log_figure(outlet: Outlet, figure: Any, name: str) -> None:
    split_name(name)
    kind = PurePosixPath(name).suffix.removeprefix(".").lower()
    if not kind:
        raise InvalidInputError(f"The name {name!r} does not say the format; end it in .png, .svg or .html.")
    keep(outlet, name, _drawn(figure, kind))


def _drawn(figure: Any, kind: str) -> bytes:
    try:
        if kind == "html" and hasattr(figure, "to_html"):
            return str(figure.to_html()).encode()
        if hasattr(figure, "savefig"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind)
            return buffer.getvalue()
        if hasattr(figure, "to_image"):
            return bytes(figure.to_image(format=kind))
    except (ValueError, ImportError) as error:
        raise InvalidInputError(f"The figure cannot be kept as .{kind}: {error}") from error
    raise InvalidInputError(
        f"{type(figure).__name__} is no figure of matplotlib or plotly that can be kept as .{kind}; "
        "write it to a file and use log_artifact."
    )


def _below(folder: str, name: str) -> str:
    if folder:
        split_name(folder)
    whole = f"{folder}/{name}" if folder else name
    split_name(whole)
    return whole


def _wait(outlet: Outlet, name: str, source: Path | bytes, error: Exception, *, told: bool) -> None:
    folder = outlet.folder
    try:
        stage(folder, name, source)
    except (ArtifactError, OSError) as second:
        outlet.lose_artifact()
        logger.warning("The artifact %r of run %s is lost: %s; nor can it wait: %s", name, outlet.run_id, error, second)
    else:
        logger.log(
            logging.INFO if told else logging.WARNING,
            "The artifact %r of run %s waits in %s, as will others until the store is back; the end of the run or "
            "`prefect-ml sync` delivers them. %s",
            name, outlet.run_id, folder, error,
        )  # fmt: skip
