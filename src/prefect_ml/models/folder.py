"""Saving a model as a folder, and loading it again."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.util
import logging
import platform
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.durable import make_folder, sync_folder
from prefect_ml.errors import AlreadyExistsError, InvalidInputError, PrefectMLError
from prefect_ml.models.code_imports import make_importable
from prefect_ml.models.environment import CONDA_FILE, PYTHON_ENV_FILE, write_environment
from prefect_ml.models.example import read_example, write_example
from prefect_ml.models.first_reading import read_apart
from prefect_ml.models.flavors.code import CodeFlavor
from prefect_ml.models.flavors.contract import TracingFlavor
from prefect_ml.models.flavors.pyfunc import PyfuncFlavor
from prefect_ml.models.flavors.python import PythonFlavor
from prefect_ml.models.flavors.table import flavor_for, flavor_of, in_format
from prefect_ml.models.infer import data_kind
from prefect_ml.models.mlmodel import ModelInfo, read_info, write_info
from prefect_ml.models.outputs import write_outputs
from prefect_ml.models.own_code import CODE
from prefect_ml.models.schema import Column
from prefect_ml.models.signature import Signature
from prefect_ml.models.trust import Trust, trust_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prefect_ml.models.flavors.contract import Flavor, FlavorInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to predict; `native` is the library's own object."""

    native: Any
    info: ModelInfo
    folder: Path
    flavor: Flavor

    @property
    def signature(self) -> Signature | None:
        return self.info.signature

    @functools.cached_property
    def input_example(self) -> Any:
        """The example kept with the model, typed by the signature; None when there is none."""
        about = self.info.input_example
        return None if about is None else read_example(self.folder, about, self.signature)

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """The library's own prediction for data that fits the signature.

        Raises:
            SignatureError: the data or a parameter does not fit.
        """
        if self.signature is None:
            return self.flavor.predict(self.native, data, params)
        fitted = self.signature.enforce_params(params)
        return self.flavor.predict(self.native, self.signature.enforce(data), fitted or None)


def save_model(
    model: Any,
    folder: Path,
    *,
    flavor: str | None = None,
    input_example: Any = None,
    signature: Signature | None = None,
    metadata: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
    serialization_format: str | None = None,
    run_id: str | None = None,
) -> ModelInfo:
    """Write a model folder that this library and `mlflow.pyfunc.load_model` open; it appears whole or never.

    The input example is kept, and replayed on the model as loaded from the folder: what it predicts is kept, too, and
    gives the signature's outputs. Without a signature and an example, nothing is enforced on predict.

    An estimator of scikit-learn or LightGBM is saved by skops, and by cloudpickle when skops cannot hold it and
    `allow_pickle` is True; `serialization_format` chooses one of the two ("skops", "cloudpickle") for good.

    Raises:
        AlreadyExistsError: `folder` exists and is not empty.
        InvalidInputError: no flavor takes the object or has the format, it has no safe format and `allow_pickle` is
            False, or it fails on its own example.
        SignatureError: no signature can be inferred from the example, or the example does not fit the one
            given.
    """
    chosen = flavor_for(model, flavor)
    if serialization_format is not None:
        chosen = in_format(chosen, model, serialization_format)
    with _appearing(Path(folder)) as partial:
        if input_example is not None and isinstance(chosen, TracingFlavor):
            written = chosen.save_traced(model, partial, input_example, allow_pickle=allow_pickle)
        else:
            written = chosen.save(model, partial, allow_pickle=allow_pickle)
        about = None
        signature = signature or written.signature
        if input_example is not None:
            signature = signature or Signature.infer(input_example)
        if signature is None:
            logger.warning(
                "This %s is saved without a signature, so nothing that it is given will be checked; give an "
                "input_example.",
                type(model).__name__,
            )
        write_environment(partial, written.modules | _modules_of_tables(input_example, signature))
        if input_example is not None and signature is not None:
            about = write_example(partial, input_example)
            signature = _replay(chosen, partial, written, about, signature)
        info = ModelInfo(
            flavors=_sections(chosen, written, partial),
            model_uuid=uuid.uuid4().hex,
            utc_time_created=dt.datetime.now(dt.UTC).replace(tzinfo=None).isoformat(" ", "microseconds"),
            signature=signature,
            input_example=about,
            metadata=metadata or {},
            run_id=run_id,
            size_bytes=sum(path.stat().st_size for path in partial.rglob("*") if path.is_file()),
        )
        write_info(partial, info)
    return info


def load_model(
    folder: Path,
    *,
    origin: str,
    trusted_origins: Sequence[str] = (),
    trusted_signers: Sequence[str] = (),
    vouched: bool = False,
) -> LoadedModel:
    """Load a model folder.

    Args:
        folder: a local folder with an MLmodel file, saved here or by MLflow.
        origin: where it came from: the URI that trust is given to.
        trusted_origins: the operator's setting `trusted_origins`; needed only for what can run code when
            loaded.
        trusted_signers: the operator's setting `trusted_signers`: the public keys whose signature is trust, too.
        vouched: whether the files were compared with a digest, or this process may end. Else, and without the signature
            of a trusted signer, what XGBoost, LightGBM or CatBoost read is first read in a process apart.

    Raises:
        ArtifactError: it is no model folder, is damaged, or needs something that is not installed.
        CorruptArtifactError: it has a signature that does not hold.
        UntrustedModelError: loading would run code from an origin that is not trusted.
    """
    folder = Path(folder)
    trust = trust_in(folder, origin, trusted_origins, trusted_signers)
    info = read_info(folder)
    flavor = flavor_of(info.flavors)
    if not vouched and not trust.signed:
        read_apart(folder, info.flavors, origin, trusted_origins, trusted_signers)
    if not isinstance(flavor, (PythonFlavor, CodeFlavor, PyfuncFlavor)):  # these import a model's own code apart
        make_importable(folder, trust)
    native = flavor.load(folder, info.flavors[flavor.name], trust)
    return LoadedModel(native, info, folder, flavor)


def _modules_of_tables(example: Any, signature: Signature | None) -> set[str]:
    """What has to be installed so that the model is given there what it is given here."""
    columns = [] if signature is None else list(signature.inputs or ())
    named = any(isinstance(column, Column) and column.name is not None for column in columns)
    if named and importlib.util.find_spec("pandas") is not None:
        return {"pandas"}
    return {"pandas"} if data_kind(example) in ("frame", "series") else set()


def _sections(flavor: Flavor, written: FlavorInfo, folder: Path) -> dict[str, Mapping[str, Any]]:
    sections: dict[str, Mapping[str, Any]] = {flavor.name: written.conf}
    if written.pyfunc is not None:
        env = {"conda": CONDA_FILE, "virtualenv": PYTHON_ENV_FILE}
        sections["python_function"] = {
            "env": env,
            **({"code": CODE} if (folder / CODE).is_dir() else {}),
            "python_version": platform.python_version(),
            **written.pyfunc,
        }
    return sections


def _replay(
    flavor: Flavor, folder: Path, written: FlavorInfo, about: Mapping[str, Any], signature: Signature
) -> Signature:
    """Predict on the kept example with what was just written; returns the signature with its outputs."""
    # This process wrote the folder a moment ago from an object that it holds, so reading it back risks
    # nothing new.
    own = Trust(str(folder), (str(folder),))
    data = read_example(folder, about, signature)
    params = signature.enforce_params(None) or None
    try:
        outputs = flavor.predict(flavor.load(folder, written.conf, own), data, params)
    except PrefectMLError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"The model fails on its own input example: {error!r}. Give an example that it can predict on."
        ) from error
    write_outputs(folder, outputs)
    if signature.outputs is not None:
        return signature
    return Signature(signature.inputs, Signature.infer(outputs).inputs, signature.params)


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill that takes its name when the body ends well, and is gone when it does not."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExistsError(f"{str(folder)!r} exists already; save the model to a new folder.")
    make_folder(folder.parent)
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.partial"
    make_folder(partial)
    try:
        yield partial
        partial.replace(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
