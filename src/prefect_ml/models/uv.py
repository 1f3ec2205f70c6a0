"""The command uv: where it is, and what it is told of package indexes."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil

from prefect_ml.errors import NotFoundError

# pip's settings and uv's words for them; uv reads none of pip's.
_FROM_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}
_OTHER_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def find_uv() -> str:
    """The command uv: of the Python package, else of the PATH.

    Raises:
        NotFoundError: it is not there.
    """
    with contextlib.suppress(ImportError, FileNotFoundError):
        return str(importlib.import_module("uv").find_uv_bin())
    found = shutil.which("uv")
    if found is None:
        raise NotFoundError("uv is not installed here, so no environment can be built; pip install uv.")
    return found


def uv_environment() -> dict[str, str]:
    """The environment to run uv in: this process's, where pip's settings of indexes count for uv as well.

    What uv is told itself goes before. No other Python is downloaded unless `UV_PYTHON_DOWNLOADS` asks for it.
    """
    env = {"UV_PYTHON_DOWNLOADS": "never", **os.environ, "UV_NO_PROGRESS": "1"}
    env.pop("VIRTUAL_ENV", None)
    for theirs, ours in _FROM_PIP.items():
        value = env.get(theirs, "").strip()
        if value and ours not in env and _OTHER_NAMES.get(ours) not in env:
            env[ours] = ",".join(value.split()) if ours == "UV_FIND_LINKS" else value
    return env
