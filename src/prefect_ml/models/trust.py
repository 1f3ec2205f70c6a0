"""The one gate through which everything goes that runs what a model folder holds.

Unpickling runs whatever the file says, and code is code. So it happens only when the operator named the origin of the
folder in the setting `PREFECT_ML_TRUSTED_ORIGINS`, or who signed it in `PREFECT_ML_TRUSTED_SIGNERS`; nothing that
stands in a model folder can widen that.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from prefect_ml.artifacts.durable import open_to_read
from prefect_ml.errors import ArtifactError, UntrustedModelError
from prefect_ml.models.signing import is_trusted, signed_by

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trust:
    """Where a model comes from, and the origins that the operator trusts.

    A pattern is a model URI or folder, compared as text; with a trailing `*` it trusts all that begin like
    it. Since `models:/churn*` also begins `models:/churn-copy/1`, write `models:/churn/*`.

    `signed` says that a signer whom the operator trusts signed the files as they are.
    """

    origin: str
    trusted_origins: Sequence[str] = ()
    signed: bool = False

    @property
    def given(self) -> bool:
        return self.signed or any(_matches(self.origin, pattern) for pattern in self.trusted_origins)

    def require(self, what: str) -> None:
        """Raise `UntrustedModelError`, which says what to set, unless the model is trusted."""
        if not self.given:
            raise UntrustedModelError(
                f"Loading {self.origin!r} would run code from {what}, and its origin is not trusted. "
                f"If you trust whoever can write there, set PREFECT_ML_TRUSTED_ORIGINS={self.origin} "
                "(comma-separated; a trailing * matches all that begin so), or name its signer in "
                "PREFECT_ML_TRUSTED_SIGNERS; else save the model in a format that needs no pickle."
            )


def trust_in(folder: Path, origin: str, trusted_origins: Sequence[str], trusted_signers: Sequence[str]) -> Trust:
    """How far a folder is trusted; a signature is verified, whoever made it.

    Raises:
        CorruptArtifactError: the folder has a signature that does not hold. It is refused, wherever it came from.
        InvalidInputError: a trusted signer is no public key.
    """
    return Trust(origin, tuple(trusted_origins), is_trusted(signed_by(folder), trusted_signers))


def unpickle(
    path: Path, trust: Trust, find: Callable[[str, str], Any] | None = None, *, compression: str | None = None
) -> Any:
    """The object in a pickle or cloudpickle file of a trusted origin.

    Args:
        path: the file.
        trust: what the operator says of where it came from.
        find: gives the object that a module and a name mean; it raises LookupError for those that it leaves to the
            installed modules.
        compression: "lzma", "bzip2" or "gzip", as MLflow names them; None for none.

    Raises:
        UntrustedModelError: the origin is not trusted; the file was not opened.
        ArtifactError: the file is damaged, or needs a module that is not installed.
    """
    trust.require(f"the pickle {path.name!r}")
    opened = _COMPRESSIONS.get(compression or "")
    if opened is None:
        raise ArtifactError(f"The pickle {path.name!r} is compressed by {compression!r}, which is not known here.")
    with open_to_read(path) as stream:
        try:
            return _Unpickler(opened(stream), find).load()
        except Exception as error:
            raise ArtifactError(f"The pickle {path.name!r} of {trust.origin!r} cannot be loaded: {error!r}.") from error


def unpickle_torch(path: Path, trust: Trust) -> Any:
    """The object that `torch.save` pickled, or the module of a TorchScript file, on the CPU, of a trusted origin.

    TorchScript is a language of its own, in which a model can write files.

    Raises:
        UntrustedModelError: the origin is not trusted; the file was not opened.
        ArtifactError: the file is damaged, or needs a module that is not installed.
    """
    trust.require(f"the pickle {path.name!r}")
    import torch  # noqa: PLC0415 - only for models of PyTorch

    with open_to_read(path) as stream:
        try:
            if _is_script(stream):
                load_script: Callable[..., Any] = torch.jit.load
                return load_script(stream, map_location="cpu")
            return torch.load(stream, map_location="cpu", weights_only=False)
        except Exception as error:
            raise ArtifactError(f"The pickle {path.name!r} of {trust.origin!r} cannot be loaded: {error!r}.") from error


def load_keras(path: Path, unsafe: str | None, trust: Trust) -> Any:
    """The model in a `.keras` archive, not compiled; what is unsafe in it, if anything, was found by who calls.

    Raises:
        UntrustedModelError: something is unsafe, and the origin is not trusted.
        ArtifactError: Keras cannot load it.
    """
    if unsafe is not None:
        trust.require(f"{unsafe} in {path.name!r}")
    import keras  # noqa: PLC0415 - only for models of Keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=unsafe is None)
    except Exception as error:
        raise ArtifactError(
            f"Keras {keras.__version__} cannot load {path.name!r} of {trust.origin!r}: {str(error)[:500]}"
        ) from error


def _is_script(stream: BinaryIO) -> bool:
    script = False
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            script = any(name.endswith("/constants.pkl") for name in archive.namelist())
    stream.seek(0)
    return script


_COMPRESSIONS: dict[str, Callable[[Any], Any]] = {
    "": lambda stream: stream,
    "lzma": lzma.open,
    "bzip2": bz2.open,
    "gzip": gzip.open,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Any, find: Callable[[str, str], Any] | None) -> None:
        super().__init__(stream)
        self._find = find

    def find_class(self, module: str, name: str, /) -> Any:
        if self._find is not None:
            try:
                return self._find(module, name)
            except LookupError:
                pass
        return super().find_class(module, name)


def _matches(origin: str, pattern: str) -> bool:
    return origin.startswith(pattern[:-1]) if pattern.endswith("*") else origin == pattern
