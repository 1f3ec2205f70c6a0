"""The weights of a PyTorch module in safetensors, and who builds the module that they go into."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import ArtifactError, InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from prefect_ml.models.trust import Trust

FILE = "model.safetensors"
_BUILD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


@dataclass
class TorchState:
    """Weights without the code that uses them; save it in the place of the module.

    Attributes:
        weights: a module, or tensors by name.
        build: `package.module:name` of what makes the module when the model is loaded, a class or a function. Loading
            calls it only for a trusted model; else the weights alone are given.
        arguments: its keyword arguments, JSON alone.
    """

    weights: Any
    build: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def load_into(self, module: Any) -> Any:
        """Put the weights into a module of the same shape, set it to predict, and return it.

        Raises:
            InvalidInputError: the names or shapes of its weights are others.
        """
        try:
            module.load_state_dict(tensors_of(self.weights))
        except RuntimeError as error:
            raise InvalidInputError(f"The weights do not fit this {type(module).__name__}: {error}.") from error
        return module.eval()


def tensors_of(weights: Any) -> dict[str, Any]:
    """The tensors by name of a module, or of what is a mapping already."""
    return dict(weights if isinstance(weights, Mapping) else weights.state_dict())


def write_state(state: TorchState, folder: Path) -> dict[str, Any]:
    """Write the weights; returns who builds the module.

    Raises:
        InvalidInputError: a weight is no tensor, or `build` or `arguments` are of another form.
    """
    try:
        import safetensors.torch  # noqa: PLC0415 - only for models of PyTorch
    except ModuleNotFoundError as error:
        raise InvalidInputError("Weights are kept in safetensors; pip install 'prefect-ml[torch]'.") from error
    if state.build is not None and not _BUILD.fullmatch(state.build):
        raise InvalidInputError(f"{state.build!r} names nobody who builds a module; write 'package.module:name'.")
    try:
        json.dumps(dict(state.arguments), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"The arguments of {state.build!r} are more than JSON: {error}.") from error
    found = tensors_of(state.weights)
    other = [name for name, value in found.items() if not hasattr(value, "untyped_storage")]
    if other:
        raise InvalidInputError(f"The weight {other[0]!r} is no tensor; keep what is more apart from the weights.")
    # Tensors that share memory are written one by one.
    apart = {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}
    safetensors.torch.save_file(apart, folder / FILE)
    return {"build": state.build, "arguments": dict(state.arguments)}


def read_state(folder: Path, about: Any, trust: Trust) -> Any:
    """The module that is built and filled when the model names who builds it and is trusted, else the weights."""
    try:
        import safetensors.torch  # noqa: PLC0415 - only for models of PyTorch
    except ModuleNotFoundError as error:
        raise ArtifactError(f"{trust.origin!r} needs safetensors; pip install 'prefect-ml[torch]'.") from error
    try:
        weights = safetensors.torch.load_file(folder / FILE)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(f"The weights of {trust.origin!r} are damaged: {error}.") from error
    known = about if isinstance(about, dict) else {}
    build, arguments = known.get("build"), known.get("arguments") or {}
    state = TorchState(weights, build, arguments if isinstance(arguments, dict) else {})
    if build is None or not trust.given:
        return state
    return state.load_into(_built(str(build), state.arguments, trust))


def _built(build: str, arguments: Mapping[str, Any], trust: Trust) -> Any:
    trust.require(f"{build!r}")
    if not _BUILD.fullmatch(build):
        raise ArtifactError(f"{trust.origin!r} names {build!r} as who builds its module, which is no 'module:name'.")
    module, _, name = build.partition(":")
    try:
        return getattr(importlib.import_module(module), name)(**arguments)
    except Exception as error:
        raise ArtifactError(f"{build!r} cannot build the module of {trust.origin!r}: {error!r}.") from error
