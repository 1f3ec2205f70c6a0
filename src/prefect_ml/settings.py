"""The settings, each an environment variable with the prefix `PREFECT_ML_`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Capturable = Literal["git", "diff", "packages", "host", "notebook", "system"]


def _default_home() -> Path:
    prefect_home = os.environ.get("PREFECT_HOME")
    return Path(prefect_home or "~/.prefect").expanduser() / "prefect-ml"


class Settings(BaseSettings):
    """Where things are kept and how far things may go.

    Read anew by each `Settings()`; every field is documented in `docs/settings.md`.
    """

    model_config = SettingsConfigDict(env_prefix="PREFECT_ML_", extra="ignore", frozen=True)

    home: Path = Field(
        default_factory=_default_home, description="Folder of the embedded store, artifacts, journals and caches."
    )
    store_url: SecretStr | None = Field(
        default=None,
        description="URL of the store: SQLAlchemy's, or a tracking server's; SQLite below `home` when unset.",
    )
    artifact_root: str | None = Field(
        default=None, description="Folder or URL of all artifacts; `artifacts` below `home` when unset."
    )
    s3_endpoint: str | None = Field(
        default=None, description="URL of a storage that speaks S3's protocol; Amazon's own when unset."
    )
    s3_kms_key: str | None = Field(
        default=None, description="Id of the customer's KMS key that artifacts in S3 are encrypted with."
    )
    sqlite_synchronous: Literal["NORMAL", "FULL"] = Field(
        default="NORMAL",
        description="SQLite's PRAGMA synchronous: FULL also survives a power cut right after a commit.",
    )
    trusted_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated model URIs, each with an optional trailing `*`, whose pickles may be loaded.",
    )
    trusted_signers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated public keys (`ed25519:...`) of those whose signed models may be unpickled.",
    )
    evaluation_folders: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated folders or URLs, besides the artifacts, where gates may find evaluation sets.",
    )
    flush_timeout: float = Field(
        default=30.0, gt=0, description="Seconds that the end of a run waits for delivery to the store."
    )
    flush_interval: float = Field(
        default=0.5, gt=0, description="Seconds between two deliveries of the journal to the store."
    )
    offline: bool = Field(
        default=False, description="Keep what is recorded in the journal; `prefect-ml sync` delivers it."
    )
    heartbeat_interval: float = Field(
        default=15.0, gt=0, description="Seconds between two signs of life of a running run in the store."
    )
    heartbeat_timeout: float = Field(
        default=120.0, gt=0, description="Seconds without a sign of life after which a run counts as dead."
    )
    watch: bool = Field(
        default=True, description="Whether a small process waits beside each that records a run, to end it truly."
    )
    track_flows: bool = Field(
        default=False, description="Track every flow of the process; needs Prefect's plugins (PREFECT_PLUGINS_ENABLED)."
    )
    track_flows_except: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated names of flows that `track_flows` leaves out; may hold `*` and `?`.",
    )
    capture: Annotated[tuple[Capturable, ...], NoDecode] = Field(
        default=get_args(Capturable),
        description="Comma-separated things to record of where a run came from; nothing when empty.",
    )
    system_metrics_interval: float = Field(
        default=10.0, ge=0, description="Seconds between two samples of the system metrics of a run; 0 for none."
    )
    serve_poll_interval: float = Field(
        default=1.0, gt=0, description="Seconds between two looks at the alias that is served."
    )

    serve_token: SecretStr | None = Field(
        default=None, description="Bearer token that a served model asks for; needed to listen beyond this machine."
    )
    serve_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated host names served without a token besides this machine's; `*` for all of them.",
    )

    serve_max_body: int = Field(
        default=16 << 20,
        gt=0,
        description="Bytes that the body of a prediction request may have; more is answered 413.",
    )
    serve_threads: int = Field(default=4, gt=0, description="Predictions that a server makes at a time.")
    serve_waiting: int = Field(
        default=128, ge=0, description="Requests that wait for a prediction; one more is answered 503 with Retry-After."
    )
    serve_drain: int = Field(
        default=20, gt=0, description="Seconds that a server told to stop goes on answering what it has in hand."
    )
    serve_batch_rows: int = Field(
        default=0, ge=0, description="Rows of several requests that a served model predicts at once; 0 for one request."
    )
    serve_batch_wait: float = Field(
        default=0.005,
        gt=0,
        description="Seconds that a request waits at most to be predicted with others, while others are predicted.",
    )
    serve_rate: float = Field(
        default=0.0,
        ge=0,
        description="Requests a second that a serving process takes from each client address; 0 for no bound.",
    )
    serve_log: Literal["json", "text", "off"] = Field(
        default="text", description="The log of prediction requests: all as JSON, those that failed as text, or none."
    )

    inference_log: str | None = Field(
        default=None, description="Folder or URL where served models keep what they were asked and answered."
    )
    inference_log_sample: float = Field(
        default=1.0, ge=0, le=1, description="Share of the requests that the inference log keeps."
    )
    inference_log_rows: int = Field(default=10_000, gt=0, description="Rows after which a file of the log is written.")
    inference_log_seconds: float = Field(
        default=60.0, gt=0, description="Seconds after which a file of the log is written with fewer rows."
    )
    inference_log_leave_out: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma-separated names of columns and fields that the inference log does not keep."
    )

    server_token: SecretStr | None = Field(
        default=None,
        description="Token that the tracking server asks for and clients send; needed to listen beyond this machine.",
    )
    server_threads: int = Field(default=16, gt=0, description="Requests that a server process works on at a time.")
    server_waiting: int = Field(
        default=512,
        ge=0,
        description="Requests that wait for one of these threads; one more is answered 503 with Retry-After.",
    )
    server_rate: float = Field(
        default=0.0,
        ge=0,
        description="Requests a second that a server process takes from each client address; 0 for no bound.",
    )
    server_body_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds that the head of a request may take, and its body make no progress (408).",
    )
    server_log: Literal["json", "text", "off"] = Field(
        default="text", description="The log of requests: all as JSON, those that failed as text, or none."
    )
    server_max_body: int = Field(
        default=32 << 20,
        gt=0,
        description="Bytes that a request's body may have, files aside; more is answered 413.",
    )
    server_max_file: int = Field(
        default=128 << 30, gt=0, description="Bytes that an uploaded file may have; more is answered 413."
    )
    server_drain: int = Field(
        default=20,
        gt=0,
        description="Seconds that a tracking server told to stop goes on answering what it has in hand.",
    )

    webhook_key: SecretStr | None = Field(
        default=None,
        description="Fernet key that the secrets of webhooks are encrypted with; of several, separated by commas, the "
        "first encrypts and all decrypt.",
    )
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("*",),
        description="Comma-separated hosts that webhooks may call, with `*` and `?`; `*` alone is every public one.",
    )
    webhook_http: bool = Field(default=False, description="Whether webhooks may call `http:` URLs, in clear text.")
    webhook_timeout: float = Field(default=10.0, gt=0, description="Seconds that a call of a webhook may take.")
    webhook_attempts: int = Field(
        default=16, gt=0, description="Attempts to tell a webhook of a change before it is given up."
    )

    @field_validator(
        "trusted_origins",
        "trusted_signers",
        "evaluation_folders",
        "track_flows_except",
        "capture",
        "webhook_hosts",
        "serve_hosts",
        "inference_log_leave_out",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

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
