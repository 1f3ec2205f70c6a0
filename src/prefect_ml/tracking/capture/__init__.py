"""What a run came from and was executed with. Never fails, never slows a run down, keeps no secret."""

from prefect_ml.tracking.capture.findings import Capture, Found
from prefect_ml.tracking.capture.git import BRANCH, COMMIT, DIRTY, REPOSITORY, git_tags, without_credentials
from prefect_ml.tracking.capture.source import (
    ENTRY_POINT,
    PYTHON,
    SOURCE_NAME,
    SOURCE_TYPE,
    USER,
    entry_point,
    process_tags,
    source_folder,
    user,
)

__all__ = [
    "BRANCH",
    "COMMIT",
    "DIRTY",
    "ENTRY_POINT",
    "PYTHON",
    "REPOSITORY",
    "SOURCE_NAME",
    "SOURCE_TYPE",
    "USER",
    "Capture",
    "Found",
    "entry_point",
    "git_tags",
    "process_tags",
    "source_folder",
    "user",
    "without_credentials",
]
