"""Signatures over the files of a model folder: who made them, and that they are still the same.

`prefect_ml.signature.json` holds the signer's public key and an Ed25519 signature over the folder's digest list. It
says nothing about trust: that is the operator's setting `trusted_signers` alone.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.durable import open_to_read
from prefect_ml.artifacts.names import resolve
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.digest import SIGNATURE_FILE, digest_list
from prefect_ml.models.keys import ALGORITHM, key_id, parse_public, public_text, read_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What is signed begins with this, so that no signature made for another purpose counts here.
_PURPOSE = b"prefect-ml model folder, version 1\n"
_MAX_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class ModelSigned:
    """A signature that holds.

    Attributes:
        signer: the public key, `ed25519:<base64>`.
        key_id: a short name for it.
    """

    signer: str
    key_id: str


def sign_folder(folder: Path, key: Path) -> ModelSigned:
    """Sign the files of a model folder with a private key, in the place of an older signature.

    Raises:
        NotFoundError: there is no such folder or key.
        InvalidInputError: the key cannot be used.
    """
    private = read_key(key)
    signature = private.sign(_PURPOSE + digest_list(folder))
    signer = public_text(private.public_key())
    content = {
        "algorithm": ALGORITHM,
        "key_id": key_id(signer),
        "public_key": signer,
        "signature": base64.b64encode(signature).decode(),
    }
    part = folder.parent / f".{folder.name}.{key_id(signer)}.partial"
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(folder / SIGNATURE_FILE)
    return ModelSigned(signer, str(content["key_id"]))


def signed_by(folder: Path) -> ModelSigned | None:
    """Who signed the files of a folder, None when nobody did; this trusts nobody.

    Raises:
        CorruptArtifactError: there is a signature, and it does not hold: files changed, came or went since, or it is
            damaged.
    """
    if not (folder / SIGNATURE_FILE).exists() and not (folder / SIGNATURE_FILE).is_symlink():
        return None
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only for what is signed

    content = _read(folder)
    try:
        public = parse_public(content["public_key"])
        signature = base64.b64decode(content["signature"], validate=True)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # base64's and ours are ValueErrors
        raise CorruptArtifactError(f"{_begin(folder)} is damaged; {_REMEDY}") from error
    try:
        public.verify(signature, _PURPOSE + digest_list(folder))
    except InvalidSignature as error:
        raise CorruptArtifactError(
            f"{_begin(folder)} does not hold: a file was changed, added or taken away after it was signed; {_REMEDY}"
        ) from error
    signer = public_text(public)
    return ModelSigned(signer, key_id(signer))


def is_trusted(signed: ModelSigned | None, trusted_signers: Iterable[str]) -> bool:
    """Whether the operator trusts who signed.

    Raises:
        InvalidInputError: an entry is no public key.
    """
    trusted = {public_text(parse_public(text)) for text in trusted_signers}
    return signed is not None and signed.signer in trusted


def _read(folder: Path) -> dict[str, Any]:
    try:
        with open_to_read(resolve(folder, SIGNATURE_FILE)) as stream:
            content = json.loads(stream.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError, InvalidInputError, NotFoundError) as error:
        raise CorruptArtifactError(f"{_begin(folder)} cannot be read; {_REMEDY}") from error
    if not isinstance(content, dict) or content.get("algorithm") != ALGORITHM:
        raise CorruptArtifactError(f"{_begin(folder)} is damaged; {_REMEDY}")
    return content


def _begin(folder: Path) -> str:
    return f"The signature ({SIGNATURE_FILE}) of the model in {str(folder)!r}"


_REMEDY = "restore the model, or look at what changed and sign it again with `prefect-ml models sign`."
