"""Pipelines of Transformers: weights in safetensors, tokenizers and processors in their own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import ArtifactError, InvalidInputError
from prefect_ml.models.flavors.contract import FlavorInfo
from prefect_ml.models.flavors.transformers_data import inputs_of, outputs_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.models.trust import Trust

_MODEL = "model"
_COMPONENTS = "components"
_PARTS = ("tokenizer", "feature_extractor", "image_processor", "processor")
_AUTO = {
    "tokenizer": "AutoTokenizer",
    "feature_extractor": "AutoFeatureExtractor",
    "image_processor": "AutoImageProcessor",
    "processor": "AutoProcessor",
}
# Nothing is fetched, and no code is taken from the folder.
_OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class TransformersFlavor:
    """Writes MLflow's own `transformers` section, so that MLflow opens it by itself.

    `predict` takes texts, dicts of texts or a DataFrame of them and gives what MLflow's pyfunc gives
    (https://mlflow.org/docs/latest/ml/deep-learning/transformers/): a DataFrame of labels and scores, or texts.
    """

    name = "transformers"

    def matches(self, model: object) -> bool:
        bases = type(model).__mro__
        return any(base.__name__ == "Pipeline" and base.__module__ == "transformers.pipelines.base" for base in bases)

    def save(self, model: Any, folder: Path, *, allow_pickle: bool) -> FlavorInfo:  # noqa: ARG002 - it needs none
        import transformers  # noqa: PLC0415 - the model's own library, imported already

        parts = {name: part for name in _PARTS if (part := getattr(model, name, None)) is not None}
        _refuse_foreign({_MODEL: model.model, **parts})
        if getattr(model.model, "_hf_peft_config_loaded", False):
            raise InvalidInputError("The model has adapters (PEFT); merge them into it before it is saved.")
        model.model.save_pretrained(folder / _MODEL, safe_serialization=True)
        for name, part in parts.items():
            part.save_pretrained(folder / _COMPONENTS / name)
        conf = {
            "task": model.task,
            "instance_type": type(model).__name__,
            "pipeline_model_type": type(model.model).__name__,
            "source_model_name": str(getattr(model.model, "name_or_path", "")),
            "model_binary": _MODEL,
            "components": [name for name in parts if name != "processor"],
            **{f"{name}_type": type(part).__name__ for name, part in parts.items()},
            "torch_dtype": str(model.model.dtype),
            "transformers_version": transformers.__version__,
            "code": None,
        }
        modules = {"transformers", "torch", "safetensors", "tokenizers", "numpy", "pandas"}
        return FlavorInfo(conf, {"loader_module": "mlflow.transformers"}, modules)

    def load(self, folder: Path, conf: Mapping[str, Any], trust: Trust) -> Any:
        try:
            import transformers  # noqa: PLC0415 - only for models of Transformers
        except ModuleNotFoundError as error:
            raise ArtifactError(
                f"{trust.origin!r} needs Transformers; pip install 'prefect-ml[transformers]'."
            ) from error
        weights = resolve(folder, str(conf.get("model_binary", "pipeline")))
        _refuse_elsewhere(weights, conf, trust)
        model_class = getattr(transformers, str(conf.get("pipeline_model_type")), None)
        if not (isinstance(model_class, type) and issubclass(model_class, transformers.PreTrainedModel)):
            raise ArtifactError(
                f"{trust.origin!r} is a {conf.get('pipeline_model_type')!r}, which is no model of Transformers "
                f"{transformers.__version__}. Code that comes with a model is not run."
            )
        # One of another kind of weights is a pickle.
        safe = any(weights.glob("*.safetensors"))
        if not safe:
            trust.require(f"the pickled weights in {weights.name!r}")
        try:
            model: Any = model_class.from_pretrained(weights, use_safetensors=safe, **_OFFLINE)
            model.to(_dtype(conf.get("torch_dtype")) or model.dtype)
            parts = {name: _part(folder, name, conf) for name in _PARTS if f"{name}_type" in conf}
            return transformers.pipeline(task=conf.get("task"), model=model, **parts, trust_remote_code=False)
        except (ArtifactError, InvalidInputError):
            raise
        except Exception as error:
            raise ArtifactError(
                f"Transformers {transformers.__version__} cannot load {trust.origin!r}: {str(error)[:500]}"
            ) from error

    def predict(self, native: Any, data: Any, params: Mapping[str, Any] | None) -> Any:
        positional, named = inputs_of(native, data)
        return outputs_of(native, native(*positional, **named, **(params or {})), single=isinstance(data, str))


def _refuse_foreign(parts: Mapping[str, Any]) -> None:
    """Only classes that Transformers has itself are found again without running code of the folder."""
    import transformers  # noqa: PLC0415 - the model's own library, imported already

    for name, part in parts.items():
        if getattr(transformers, type(part).__name__, None) is None:
            raise InvalidInputError(
                f"The {name} is a {type(part).__name__}, which is no class of Transformers; save it as a model of "
                "code, which then needs the setting PREFECT_ML_TRUSTED_ORIGINS."
            )


def _refuse_elsewhere(weights: Path, conf: Mapping[str, Any], trust: Trust) -> None:
    """What the folder does not hold would be fetched, or read from another place."""
    adapted = conf.get("peft_adaptor") or (weights / "adapter_config.json").exists()
    if adapted or conf.get("local_base_model_path") or conf.get("source_model_revision") or not weights.is_dir():
        raise ArtifactError(
            f"{trust.origin!r} does not hold its own weights: it is an adapter, or names a model elsewhere. Merge "
            "them, and save the whole pipeline."
        )


def _part(folder: Path, name: str, conf: Mapping[str, Any]) -> Any:
    import transformers  # noqa: PLC0415 - only for models of Transformers

    own = getattr(transformers, str(conf[f"{name}_type"]), None)
    class_: Any = own if hasattr(own, "from_pretrained") else getattr(transformers, _AUTO[name])
    return class_.from_pretrained(resolve(folder, f"{_COMPONENTS}/{name}"), **_OFFLINE)


def _dtype(text: Any) -> Any:
    import torch  # noqa: PLC0415 - only for models of Transformers

    found = getattr(torch, str(text).removeprefix("torch."), None)
    return found if isinstance(found, torch.dtype) else None
