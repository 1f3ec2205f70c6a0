"""The settings, each an environment variable with the prefix `PREFECT_ML_`."""

# ruff: noqa: RUF009 - `setting` makes a field, as `dataclasses.field` does
from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_type_hints

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr, TypeAdapter

Capturable = Literal["git", "diff", "packages", "host", "notebook", "system"]

PREFIX = "PREFECT_ML_"
# What a text from the environment is at once; all else is read by pydantic, whose import costs a start 40 ms.
_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "str | None": str,
    "Path": Path,
    "tuple[str, ...]": lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
}


def setting(
    *, description: str, default: Any = None, default_factory: Callable[[], Any] | None = None, **bounds: float
) -> Any:
    """A field of `Settings`.

    Args:
        description: what it means.
        default: when it is not set.
        default_factory: makes the default instead.
        bounds: of a number, as pydantic's `Field` names them (`gt`, `ge`, `le`).
    """
    about = {"description": description, "bounds": bounds}
    return (
        field(default=default, metadata=about)
        if default_factory is None
        else field(default_factory=default_factory, metadata=about)
    )


def _default_home() -> Path:
    prefect_home = os.environ.get("PREFECT_HOME")
    return Path(prefect_home or "~/.prefect").expanduser() / "prefect-ml"


@dataclass(frozen=True, init=False)
class Settings:
    """Where things are kept and how far things may go.

    Read anew by each `Settings()`; every field is documented in `docs/settings.md`.

    Args:
        given: values by name, instead of those of the environment; text is read as there.

    Raises:
        InvalidInputError: a value that the setting cannot have.
    """

    home: Path = setting(
        default_factory=_default_home, description="Folder of the embedded store, artifacts, journals and caches."
    )
    store_url: SecretStr | None = setting(
        default=None,
        description="URL of the store: SQLAlchemy's, or a tracking server's; SQLite below `home` when unset.",
    )
    artifact_root: str | None = setting(
        default=None, description="Folder or URL of all artifacts; `artifacts` below `home` when unset."
    )
    s3_endpoint: str | None = setting(
        default=None, description="URL of a storage that speaks S3's protocol; Amazon's own when unset."
    )
    s3_kms_key: str | None = setting(
        default=None, description="Id of the customer's KMS key that artifacts in S3 are encrypted with."
    )
    sqlite_synchronous: Literal["NORMAL", "FULL"] = setting(
        default="NORMAL",
        description="SQLite's PRAGMA synchronous: FULL also survives a power cut right after a commit.",
    )
    trusted_origins: tuple[str, ...] = setting(
        default=(),
        description="Comma-separated model URIs, each with an optional trailing `*`, whose pickles may be loaded.",
    )
    trusted_signers: tuple[str, ...] = setting(
        default=(),
        description="Comma-separated public keys (`ed25519:...`) of those whose signed models may be unpickled.",
    )
    evaluation_folders: tuple[str, ...] = setting(
        default=(),
        description="Comma-separated folders or URLs, besides the artifacts, where gates may find evaluation sets.",
    )
    flush_timeout: float = setting(
        default=30.0, gt=0, description="Seconds that the end of a run waits for delivery to the store."
    )
    flush_interval: float = setting(
        default=0.5, gt=0, description="Seconds between two deliveries of the journal to the store."
    )
    offline: bool = setting(
        default=False, description="Keep what is recorded in the journal; `prefect-ml sync` delivers it."
    )
    heartbeat_interval: float = setting(
        default=15.0, gt=0, description="Seconds between two signs of life of a running run in the store."
    )
    heartbeat_timeout: float = setting(
        default=120.0, gt=0, description="Seconds without a sign of life after which a run counts as dead."
    )
    watch: bool = setting(
        default=True, description="Whether a small process waits beside each that records a run, to end it truly."
    )
    track_flows: bool = setting(
        default=False, description="Track every flow of the process; needs Prefect's plugins (PREFECT_PLUGINS_ENABLED)."
    )
    track_flows_except: tuple[str, ...] = setting(
        default=(),
        description="Comma-separated names of flows that `track_flows` leaves out; may hold `*` and `?`.",
    )
    capture: tuple[Capturable, ...] = setting(
        default=get_args(Capturable),
        description="Comma-separated things to record of where a run came from; nothing when empty.",
    )
    system_metrics_interval: float = setting(
        default=10.0, ge=0, description="Seconds between two samples of the system metrics of a run; 0 for none."
    )
    serve_poll_interval: float = setting(
        default=1.0, gt=0, description="Seconds between two looks at the alias that is served."
    )

    serve_token: SecretStr | None = setting(
        default=None, description="Bearer token that a served model asks for; needed to listen beyond this machine."
    )
    serve_hosts: tuple[str, ...] = setting(
        default=(),
        description="Comma-separated host names served without a token besides this machine's; `*` for all of them.",
    )

    serve_max_body: int = setting(
        default=16 << 20,
        gt=0,
        description="Bytes that the body of a prediction request may have; more is answered 413.",
    )
    serve_threads: int = setting(default=4, gt=0, description="Predictions that a server makes at a time.")
    serve_waiting: int = setting(
        default=128, ge=0, description="Requests that wait for a prediction; one more is answered 503 with Retry-After."
    )
    serve_drain: int = setting(
        default=20, gt=0, description="Seconds that a server told to stop goes on answering what it has in hand."
    )
    serve_batch_rows: int = setting(
        default=0, ge=0, description="Rows of several requests that a served model predicts at once; 0 for one request."
    )
    serve_batch_wait: float = setting(
        default=0.005,
        gt=0,
        description="Seconds that a request waits at most to be predicted with others, while others are predicted.",
    )
    serve_rate: float = setting(
        default=0.0,
        ge=0,
        description="Requests a second that a serving process takes from each client address; 0 for no bound.",
    )
    serve_log: Literal["json", "text", "off"] = setting(
        default="text", description="The log of prediction requests: all as JSON, those that failed as text, or none."
    )

    inference_log: str | None = setting(
        default=None, description="Folder or URL where served models keep what they were asked and answered."
    )
    inference_log_sample: float = setting(
        default=1.0, ge=0, le=1, description="Share of the requests that the inference log keeps."
    )
    inference_log_rows: int = setting(
        default=10_000, gt=0, description="Rows after which a file of the log is written."
    )
    inference_log_seconds: float = setting(
        default=60.0, gt=0, description="Seconds after which a file of the log is written with fewer rows."
    )
    inference_log_leave_out: tuple[str, ...] = setting(
        default=(), description="Comma-separated names of columns and fields that the inference log does not keep."
    )

    server_token: SecretStr | None = setting(
        default=None,
        description="Token that the tracking server asks for and clients send; needed to listen beyond this machine.",
    )
    server_threads: int = setting(default=16, gt=0, description="Requests that a server process works on at a time.")
    server_waiting: int = setting(
        default=512,
        ge=0,
        description="Requests that wait for one of these threads; one more is answered 503 with Retry-After.",
    )
    server_rate: float = setting(
        default=0.0,
        ge=0,
        description="Requests a second that a server process takes from each client address; 0 for no bound.",
    )
    server_body_timeout: float = setting(
        default=30.0,
        gt=0,
        description="Seconds that the head of a request may take, and its body make no progress (408).",
    )
    server_log: Literal["json", "text", "off"] = setting(
        default="text", description="The log of requests: all as JSON, those that failed as text, or none."
    )
    server_max_body: int = setting(
        default=32 << 20,
        gt=0,
        description="Bytes that a request's body may have, files aside; more is answered 413.",
    )
    server_max_file: int = setting(
        default=128 << 30, gt=0, description="Bytes that an uploaded file may have; more is answered 413."
    )
    server_drain: int = setting(
        default=20,
        gt=0,
        description="Seconds that a tracking server told to stop goes on answering what it has in hand.",
    )

    webhook_key: SecretStr | None = setting(
        default=None,
        description="Fernet key that the secrets of webhooks are encrypted with; of several, separated by commas, the "
        "first encrypts and all decrypt.",
    )
    webhook_hosts: tuple[str, ...] = setting(
        default=("*",),
        description="Comma-separated hosts that webhooks may call, with `*` and `?`; `*` alone is every public one.",
    )
    webhook_http: bool = setting(default=False, description="Whether webhooks may call `http:` URLs, in clear text.")
    webhook_timeout: float = setting(default=10.0, gt=0, description="Seconds that a call of a webhook may take.")
    webhook_attempts: int = setting(
        default=16, gt=0, description="Attempts to tell a webhook of a change before it is given up."
    )

    def __init__(self, **given: Any) -> None:
        if unknown := given.keys() - _FIELDS.keys():
            raise InvalidInputError(f"There is no setting {', '.join(sorted(unknown))}; docs/settings.md names them.")
        told = {
            name.upper().removeprefix(PREFIX).lower(): text
            for name, text in os.environ.items()
            if name.upper().startswith(PREFIX)
        }
        self.__dict__.update(
            {
                name: _read(name, given[name] if name in given else told[name])
                if name in given or name in told
                else _default(name)
                for name in _FIELDS
            }
        )

    def replaced(self, **changes: Any) -> Self:
        """The same settings but for some, given as to the class."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__ | {name: _read(name, value) for name, value in changes.items()})
        return made

    @property
    def resolved_store_url(self) -> str:
        """The SQLAlchemy URL, with the default filled in; may hold a password: never log it."""
        return self.store_url.get_secret_value() if self.store_url else f"sqlite:///{self.home / 'store.db'}"

    @property
    def resolved_artifact_root(self) -> str:
        return self.artifact_root or str(self.home / "artifacts")

    @property
    def journal_folder(self) -> Path:
        return self.home / "journal"

    @property
    def cache_folder(self) -> Path:
        return self.home / "cache"


_FIELDS = {each.name: each for each in fields(Settings)}


def _default(name: str) -> Any:
    about = _FIELDS[name]
    return about.default_factory() if callable(about.default_factory) else about.default


def _read(name: str, value: Any) -> Any:
    """The value of a setting.

    Raises:
        InvalidInputError: it cannot have that one.
    """
    kind = str(_FIELDS[name].type)
    if (isinstance(value, str) and kind in _PLAIN) or (isinstance(value, Path) and kind == "Path"):
        return _PLAIN[kind](value)
    if value is None and kind.endswith("| None"):
        return None
    if isinstance(value, str) and kind.startswith("tuple"):
        value = _PLAIN["tuple[str, ...]"](value)
    if value == () and kind.startswith("tuple"):
        return ()
    from pydantic import ValidationError  # noqa: PLC0415 - most processes set nothing that it must read

    try:
        return _adapter(name).validate_python(value)
    except ValidationError as error:
        # Its own sentence would show the value, which may be a secret.
        why = "; ".join(str(each["msg"]) for each in error.errors())
        raise InvalidInputError(f"The setting {PREFIX}{name.upper()} cannot be read: {why}.") from None


@functools.cache
def _adapter(name: str) -> TypeAdapter[Any]:
    from pydantic import Field, SecretStr, TypeAdapter  # noqa: PLC0415

    kind: Any = get_type_hints(Settings, localns={"SecretStr": SecretStr})[name]
    bounded: Any = Annotated[kind, Field(**_FIELDS[name].metadata["bounds"])]
    return TypeAdapter(bounded)
