"""Where a model is served."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl


class ServingTarget(Block):
    """A process that answers predictions, and the model that belongs on it.

    Attributes:
        host: name or address of the serving process.
        port: its port.
        model_uri: the model to serve there.

    Example:
        Wait until the target answers with what its alias says now:
        ```python
        from prefect_ml.blocks import ServingTarget
        from prefect_ml.flows.await_served import await_served

        target = ServingTarget.load("BLOCK_NAME")
        await_served(target.model_uri, host=target.host, port=target.port)
        ```
    """

    _block_type_name = "Serving Target"
    _block_type_slug = "prefect-ml-serving-target"
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    host: str = Field(
        default="127.0.0.1",
        pattern=r"^[A-Za-z0-9.:_\-]+$",
        description="Name or address of the serving process.",
    )
    port: int = Field(default=5001, ge=1, le=65535, description="Port of the serving process.")
    model_uri: str = Field(
        default=..., title="Model URI", description="The model to serve, for example models:/churn@champion."
    )

    @property
    def url(self) -> str:
        """The base URL of the serving process."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"
