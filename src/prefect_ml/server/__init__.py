"""The tracking server: one application over a store and its artifacts, in one or several processes."""

from __future__ import annotations

from prefect_ml.server.run import run_server

__all__ = ["run_server"]
