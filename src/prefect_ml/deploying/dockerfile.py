"""The Dockerfile of a served model: two stages, so that the image holds the environment and nothing that made it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prefect_ml.deploying.inside import MODEL_FOLDER, PORT, USER
from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection

ENVIRONMENT = "/opt/venv"
LOCK_FILE = "requirements.lock"
WHEELS = "wheels"
MODEL = "model"
HOME = "/tmp/prefect-ml"  # noqa: S108 - inside the container, where the root file system may be read only
_PYTHON = re.compile(r"3\.\d{1,2}", re.ASCII)
_RELEASE = re.compile(r"\d+(\.\d+)+", re.ASCII)
_PROBE = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/ping', timeout=4)"

# Each step of the first stage, as an argument vector; the folder of the build is the current one.
VENV_STEP = ("uv", "venv", ENVIRONMENT)
INSTALL_STEP = ("uv", "pip", "install", "--python", ENVIRONMENT, "--require-hashes", "-r", LOCK_FILE)


# The release of Debian says which version it is, and gets repairs of it alone.
_INSTALL = """\
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends {} && rm -rf /var/lib/apt/lists/*
"""
# Shared libraries that a distribution's wheels neither hold nor find in Python's slim image.
_SYSTEM = {"lightgbm": "libgomp1"}


def system_packages(lock: str) -> list[str]:
    """The packages of Debian that the distributions of a lock need beside themselves."""
    names = set(re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE))
    return sorted({package for name, package in _SYSTEM.items() if name in names})


def dockerfile(*, python: str, uv: str, system: Collection[str] = ()) -> str:
    """The text of the Dockerfile.

    No argument and no secret enters a layer: the token and the URL of a store come from the environment of the
    container when it runs.

    Args:
        python: minor version, for example `"3.12"`; the base image is Python's own slim one.
        uv: release of uv that builds the environment.
        system: packages of Debian that distributions of the lock need beside themselves, see `system_packages`.

    Raises:
        InvalidInputError: one of them is no version.
    """
    if not _PYTHON.fullmatch(python) or not _RELEASE.fullmatch(uv):
        raise InvalidInputError(f"{python!r} or {uv!r} is no version; write them like '3.12' and '0.9.2'.")
    installed = _INSTALL.format(" ".join(sorted(system))) if system else ""
    return f"""\
# The environment is built in one stage, and what built it stays there.
FROM python:{python}-slim AS environment
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir "uv=={uv}"
WORKDIR /build
COPY {WHEELS}/ {WHEELS}/
COPY {LOCK_FILE} ./
RUN {" ".join(VENV_STEP)} && {" ".join(INSTALL_STEP)}

FROM python:{python}-slim
{installed}RUN useradd --uid {USER} --user-group --no-create-home --shell /usr/sbin/nologin model
COPY --from=environment {ENVIRONMENT} {ENVIRONMENT}
COPY {MODEL}/ {MODEL_FOLDER}/
ENV PATH="{ENVIRONMENT}/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \\
    HOME="{HOME}" PREFECT_HOME="{HOME}/prefect" PREFECT_ML_HOME="{HOME}" DO_NOT_TRACK=1
USER {USER}:{USER}
EXPOSE {PORT}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=6 \\
  CMD ["{ENVIRONMENT}/bin/python", "-c", "{_PROBE}"]
ENTRYPOINT ["{ENVIRONMENT}/bin/python", "-m", "prefect_ml.deploying.inside"]
"""
