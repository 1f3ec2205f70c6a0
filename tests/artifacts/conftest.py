"""Every artifact store that the contract is tested on."""

from __future__ import annotations

import pytest

from prefect_ml.artifacts import open_artifacts


@pytest.fixture(params=["folder", "file_uri"])
def root_uri(request, tmp_path):
    """The URI of an empty artifact root; another kind of store joins the contract by one more parameter."""
    folder = tmp_path / "artifact root"
    return str(folder) if request.param == "folder" else folder.as_uri()


@pytest.fixture
def artifacts(root_uri):
    return open_artifacts(root_uri)
