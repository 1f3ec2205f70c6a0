"""The port of the flavors: what one library must offer so that its models can be saved and loaded.

A flavor is added by an object of this protocol under the entry point group `prefect_ml.flavors`, named as the
flavor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from prefect_ml.models.signature import Signature
    from prefect_ml.models.trust import Trust


@dataclass(frozen=True, slots=True)
class FlavorInfo:
    """What a flavor wrote: its section of the MLmodel file, how MLflow's pyfunc opens it, what it needs.

    `pyfunc` is None when the model has nothing to predict with; `modules` are top-level modules that must be
    installed. `signature` is what the flavor knows of it by itself, for example from type hints.
    """

    conf: Mapping[str, Any]
    pyfunc: Mapping[str, Any] | None
    modules: AbstractSet[str] = field(default_factory=frozenset)
    signature: Signature | None = None


class Flavor(Protocol):
    @property
    def name(self) -> str:
        """The key of its section below `flavors` in the MLmodel file."""
        ...

    def matches(self, model: object) -> bool:
        """Whether it knows this object; must not import the library."""
        ...

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:
        """Write the weights into `folder`, which no reader sees yet.

        Raises:
            InvalidInputError: the object has no safe format, and `allow_pickle` is False.
        """
        ...

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        """The library's own object; whatever could run code from the folder goes through `trust`."""
        ...

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any: ...


@runtime_checkable
class TracingFlavor(Protocol):
    """What a flavor offers besides when its format is made by running the model."""

    def save_traced(self, model: Any, folder: Path, example: Any, *, allow_pickle: bool) -> FlavorInfo:
        """As `save`, called in its place when there is an input example."""
        ...
