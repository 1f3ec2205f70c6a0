"""ONNX graphs, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.onnx_feeding import feed, named_outputs
from prefect_ml.models.flavors.onnx_files import check_outside_tensors, read_graph, tensor_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.models.trust import Trust

_FILE = "model.onnx"
_TENSORS = "model.onnx.data"
# Protocol buffers end at 2 GiB; above this, tensors go to a file of their own, which onnxruntime maps into memory.
_ONE_FILE_BYTES = 1 << 30
_CPU = "CPUExecutionProvider"
# Settings of speed and memory that a model may carry; others name files or libraries to load.
# https://onnxruntime.ai/docs/api/c/onnxruntime__session__options__config__keys_8h.html
_SETTINGS = frozenset(
    {
        "session.disable_prepacking",
        "session.dynamic_block_base",
        "session.inter_op.allow_spinning",
        "session.intra_op.allow_spinning",
        "session.set_denormal_as_zero",
        "session.use_device_allocator_for_initializers",
        "session.use_env_allocators",
    }
)


class OnnxFlavor:
    """Writes MLflow's own `onnx` section, so that MLflow opens it by itself.

    It saves an `onnx.ModelProto`, or the path of a `.onnx` file, whose tensors may stand in files beside it; loaded,
    it is an `onnxruntime.InferenceSession`.
    """

    name = "onnx"

    def matches(self, model: object) -> bool:
        if isinstance(model, (str, Path)):
            return Path(model).suffix == ".onnx"
        return any(
            base.__name__ == "ModelProto" and base.__module__.split(".")[0] == "onnx" for base in type(model).__mro__
        )

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:  # noqa: ARG002 - it needs none
        import onnx  # noqa: PLC0415 - only for models of ONNX

        if not self.matches(model):
            raise InvalidInputError(
                f"A {type(model).__name__} is no ONNX model; give an onnx.ModelProto or the Path of a .onnx file."
            )
        try:
            graph = onnx.load(model) if isinstance(model, (str, Path)) else model
            _write(graph, folder)
            onnx.checker.check_model(str(folder / _FILE))
        except (onnx.checker.ValidationError, OSError, ValueError, TypeError) as error:
            raise InvalidInputError(f"ONNX {onnx.__version__} cannot save this model: {str(error)[:300]}") from error
        conf = {
            "onnx_version": onnx.__version__,
            "data": _FILE,
            "providers": ["CUDAExecutionProvider", _CPU],
            "onnx_session_options": None,
            "code": None,
        }
        pyfunc = {"loader_module": "mlflow.onnx", "data": _FILE}
        return FlavorInfo(conf, pyfunc, {"onnx", "onnxruntime", "numpy"})

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        """A session on the providers that the model names and this machine has, the CPU's when there are none.

        Options of providers are left out, since they can name libraries to load.
        """
        path = resolve(folder, str(conf.get("data", _FILE)))
        if not path.is_file():
            raise ArtifactError(f"The graph {path.name!r} of {trust.origin!r} is missing; download the model again.")
        try:
            import onnx  # noqa: F401, PLC0415 - only for models of ONNX
            import onnxruntime  # noqa: PLC0415 - only for models of ONNX
        except ModuleNotFoundError as error:
            raise ArtifactError(f"{trust.origin!r} needs {error.name}; pip install 'prefect-ml[onnx]'.") from error
        check_outside_tensors(read_graph(path, trust.origin), path, trust.origin)
        options = _options(conf, trust)
        available = set(onnxruntime.get_available_providers())
        providers = [name for name in _provider_names(conf) if name in available] or [_CPU]
        try:
            return onnxruntime.InferenceSession(str(path), providers=providers, sess_options=options)
        except Exception as error:
            raise ArtifactError(
                f"onnxruntime {onnxruntime.__version__} cannot load {path.name!r} of {trust.origin!r}: "
                f"{str(error)[:300]}"
            ) from error

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        """Run the graph on a dict of arrays, an array, or a frame.

        An array goes to the only input. A frame goes to the only input as a whole, else its columns go to the inputs
        of their names.

        Returns:
            For a frame a frame, when each output has one value for each row; else the outputs by name.

        Raises:
            InvalidInputError: the data has not what the graph takes, or there are params.
        """
        if params:
            raise InvalidInputError(f"An ONNX model takes no params, but got {', '.join(params)}.")
        return named_outputs(native, native.run(None, feed(native, data)), data)


def _write(graph: Any, folder: Path) -> None:
    import onnx  # noqa: PLC0415 - imported already
    from onnx.external_data_helper import load_external_data_for_model  # noqa: PLC0415 - imported already

    if tensor_bytes(graph) <= _ONE_FILE_BYTES:
        onnx.save_model(graph, str(folder / _FILE))
        return
    onnx.save_model(
        graph, str(folder / _FILE), save_as_external_data=True, all_tensors_to_one_file=True, location=_TENSORS
    )
    # Saving took the tensors out of the caller's own graph.
    load_external_data_for_model(graph, str(folder))


def _provider_names(conf: Mapping[str, Any]) -> list[str]:
    given = conf.get("providers") or []
    listed = [given] if isinstance(given, str) else given
    names = (entry[0] if isinstance(entry, list) and entry else entry for entry in listed)
    return [name for name in names if isinstance(name, str)]


def _options(conf: Mapping[str, Any], trust: Trust) -> Any:
    """The session's settings; a setting outside of the known harmless ones needs trust."""
    import onnxruntime  # noqa: PLC0415 - imported already

    options = onnxruntime.SessionOptions()
    # Else the ending or the first bytes of the file would choose another format, which nobody looked into.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    given = conf.get("onnx_session_options") or {}
    try:
        options.inter_op_num_threads = int(given.get("inter_op_num_threads") or 0)
        options.intra_op_num_threads = int(given.get("intra_op_num_threads") or 0)
        if str(given.get("execution_mode") or "sequential").upper() == "PARALLEL":
            options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        if given.get("graph_optimization_level"):
            level = onnxruntime.GraphOptimizationLevel(int(given["graph_optimization_level"]))
            options.graph_optimization_level = level
        settings = dict(given.get("extra_session_config") or {})
    except (AttributeError, TypeError, ValueError) as error:
        raise ArtifactError(f"The onnx section of {trust.origin!r} has settings that are none: {error}.") from error
    unknown = sorted(str(key) for key in settings.keys() - _SETTINGS)
    if unknown:
        trust.require(f"settings of onnxruntime that can name files and libraries ({', '.join(unknown)})")
    for key, value in settings.items():
        options.add_session_config_entry(str(key), str(value))
    return options
