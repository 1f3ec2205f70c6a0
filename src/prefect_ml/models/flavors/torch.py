"""PyTorch modules: as a graph of `torch.export`, as weights in safetensors, or pickled whole by choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.torch_program import unsafe_part
from prefect_ml.models.flavors.torch_state import FILE as STATE_FILE
from prefect_ml.models.flavors.torch_state import TorchState, read_state, write_state
from prefect_ml.models.flavors.torch_tensors import numbers, tensors, traced_tensors
from prefect_ml.models.pickling import carried
from prefect_ml.models.trust import Trust, unpickle_torch

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER = "data"
_PROGRAM_FILE = "model.pt2"
_PICKLE_FILE = "model.pth"
_LOADER_FILE = "pickle_module_info.txt"


class TorchFlavor:
    """Writes MLflow's own `pytorch` section, so that MLflow opens graphs and pickles by itself.

    What it loads is on the CPU and ready to predict; `predict` takes a DataFrame (as 32-bit floats), an array, or a
    dict of arrays by the names of `forward`'s arguments, and gives the like.
    """

    name = "pytorch"

    def matches(self, model: object) -> bool:
        return isinstance(model, TorchState) or _is_module(model)

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:
        """Write the weights alone, or the whole module when `allow_pickle`; no graph can be made without an example."""
        data = folder / _FOLDER
        data.mkdir()
        if isinstance(model, TorchState) or not allow_pickle:
            about = write_state(model if isinstance(model, TorchState) else TorchState(model), data)
            # MLflow has no format for weights alone.
            return _info({"serialization_format": "safetensors", "state": about}, pyfunc=False, more={"safetensors"})
        import torch  # noqa: PLC0415 - the model's own library, imported already

        if isinstance(model, torch.jit.ScriptModule):
            model.save(data / _PICKLE_FILE)
            modules: frozenset[str] = frozenset()
        else:
            with carried(model) as modules:
                _pickle(model, data / _PICKLE_FILE)
        # By which module MLflow unpickles it.
        (data / _LOADER_FILE).write_text("pickle")
        return _info({"serialization_format": "pickle"}, pyfunc=True, more=modules)

    def save_traced(self, model: Any, folder: Path, example: Any, *, allow_pickle: bool) -> FlavorInfo:
        """Write the graph that the module runs on the example; batches of every size go through it where it allows."""
        import torch  # noqa: PLC0415 - the model's own library, imported already

        if isinstance(model, (TorchState, torch.jit.ScriptModule)):
            return self.save(model, folder, allow_pickle=allow_pickle)
        (folder / _FOLDER).mkdir()
        path = folder / _FOLDER / _PROGRAM_FILE
        try:
            _export(model, example, path)
            problem = unsafe_part(path)
        except Exception as error:  # noqa: BLE001 - the tracer raises whatever the module's own code raises
            problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error) else ''}"
        if problem is None:
            return _info({"serialization_format": "pt2"}, pyfunc=True)
        path.unlink(missing_ok=True)
        (folder / _FOLDER).rmdir()
        if not allow_pickle:
            raise InvalidInputError(
                f"This {type(model).__name__} cannot be exported with its input example ({problem}). Change what the "
                "graph cannot hold, keep its weights alone with TorchState(model, build='package.module:function'), or "
                "use allow_pickle=True to pickle it, which then needs the setting PREFECT_ML_TRUSTED_ORIGINS."
            )
        return self.save(model, folder, allow_pickle=True)

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        try:
            import torch  # noqa: PLC0415 - only for models of PyTorch
        except ModuleNotFoundError as error:
            raise ArtifactError(f"{trust.origin!r} needs PyTorch; pip install 'prefect-ml[torch]'.") from error
        data = resolve(folder, str(conf.get("model_data", _FOLDER)))
        program, state, pickled = (resolve(data, name) for name in (_PROGRAM_FILE, STATE_FILE, _PICKLE_FILE))
        if pickled.is_file():
            return unpickle_torch(pickled, trust).eval()
        if state.is_file():
            return read_state(data, conf.get("state"), trust)
        if not program.is_file():
            raise ArtifactError(f"The weights of {trust.origin!r} are missing; download the model again.")
        part = unsafe_part(program)
        if part is not None:
            trust.require(f"{part} in the graph {program.name!r}")
        try:
            return torch.export.load(program).module()
        except Exception as error:
            raise ArtifactError(
                f"PyTorch {torch.__version__} cannot load {program.name!r} of {trust.origin!r}: {error!r}."
            ) from error

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        import torch  # noqa: PLC0415 - the model's own library, imported already

        if isinstance(native, TorchState):
            raise InvalidInputError(
                "This model keeps weights alone: build the module and use `native.load_into(module)`, or name who "
                "builds it when saving, with TorchState(model, build='package.module:function')."
            )
        positional, named = tensors(data)
        with torch.no_grad():
            return numbers(native(*positional, **named, **(params or {})), data)


def _is_module(model: object) -> bool:
    return any(
        base.__name__ == "Module" and base.__module__ == "torch.nn.modules.module" for base in type(model).__mro__
    )


def _info(conf: dict[str, Any], *, pyfunc: bool, more: frozenset[str] | set[str] = frozenset()) -> FlavorInfo:
    import torch  # noqa: PLC0415 - the model's own library, imported already

    section = {"model_data": _FOLDER, "pytorch_version": str(torch.__version__), "code": None, **conf}
    opened = {"loader_module": "mlflow.pytorch", "data": _FOLDER, "config": {"device": None}} if pyfunc else None
    return FlavorInfo(section, opened, {"torch", "numpy", *more})


def _export(model: Any, example: Any, path: Path) -> None:
    import torch  # noqa: PLC0415 - the model's own library, imported already

    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        positional, named, shapes = traced_tensors(example)
        program = torch.export.export(model, positional, named, dynamic_shapes=shapes, strict=False)
    finally:
        for module in training:
            module.training = True
    torch.export.save(program, path)


def _pickle(model: Any, path: Path) -> None:
    import cloudpickle  # noqa: PLC0415 - only where a pickle is asked for
    import torch  # noqa: PLC0415 - the model's own library, imported already

    try:
        torch.save(model, path, pickle_module=cloudpickle)
    except Exception as error:
        raise InvalidInputError(f"This {type(model).__name__} cannot be pickled: {error!r}.") from error
