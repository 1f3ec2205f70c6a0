"""Where artifacts are kept."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl

from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.artifacts.open import open_artifacts


class ArtifactRoot(Block):
    """A root of artifacts: every file is written atomically and verified when it is read.

    Attributes:
        uri: a folder path, or a URL as `open_artifacts` takes it, like `s3://bucket/folder`.

    Example:
        List what lies at the root:
        ```python
        from prefect_ml.blocks import ArtifactRoot

        root = ArtifactRoot.load("BLOCK_NAME")
        root.get_artifacts().list()
        ```
    """

    _block_type_name = "Artifact Root"
    _block_type_slug = "prefect-ml-artifact-root"
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    uri: str = Field(default=..., title="URI", min_length=1, description="Folder path or URL of the root.")

    def get_artifacts(self) -> ArtifactStore:
        """Open the root; the folder is made by the first write.

        Raises:
            InvalidInputError: the URI names no folder.
        """
        return open_artifacts(self.uri)
