"""The process that answers predictions, and swaps models while it does."""

from prefect_ml.serving.server import run_server

__all__ = ["run_server"]
