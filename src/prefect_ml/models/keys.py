"""The keys of signers: Ed25519 (RFC 8032), the private one in a file that its owner alone reads."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from prefect_ml.artifacts.durable import FILE_MODE
from prefect_ml.errors import AlreadyExistsError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALGORITHM = "ed25519"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# An Ed25519 key in PEM has 120 bytes.
_MAX_BYTES = 1 << 14


def make_key(path: Path) -> str:
    """Write a new private key as PEM (PKCS #8, mode 0600) to a new file; returns its public key.

    Raises:
        AlreadyExistsError: the file exists; a key is never overwritten.
        NotFoundError: its folder does not exist.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only for those who sign
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except FileExistsError as error:
        raise AlreadyExistsError(f"{str(path)!r} exists already; a key is never overwritten.") from error
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no folder {str(path.parent)!r} for the key; make it first.") from error
    with os.fdopen(handle, "wb") as stream:
        stream.write(pem)
    return public_text(key.public_key())


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: others than its owner may read it, or it holds no Ed25519 key without a password.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only for those who sign
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            pem = stream.read(_MAX_BYTES)
    except OSError as error:
        raise NotFoundError(f"The key {str(path)!r} cannot be read: {error.strerror}.") from error
    if os.name != "nt" and mode & _OTHERS:
        raise InvalidInputError(
            f"Others than its owner may use the key {str(path)!r} (mode {stat.S_IMODE(mode):04o}); chmod 600 it, and "
            "make a new key if somebody may have read it."
        )
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's own words may quote the file.
        raise InvalidInputError(f"{str(path)!r} holds no private key in PEM without a password.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInputError(f"{str(path)!r} holds no Ed25519 key; make one with `prefect-ml models keygen`.")
    return key


def public_text(key: Ed25519PublicKey) -> str:
    """`ed25519:<base64 of the 32 bytes>`, as the setting `trusted_signers` takes it."""
    return f"{ALGORITHM}:{base64.b64encode(key.public_bytes_raw()).decode()}"


def parse_public(text: str) -> Ed25519PublicKey:
    """The public key that a text names.

    Raises:
        InvalidInputError: it is not of the form `ed25519:<base64>`.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - only for signers

    encoded = text.strip().removeprefix(f"{ALGORITHM}:")
    try:
        # A colon that is left is no base64.
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded, validate=True))
    except ValueError as error:
        raise InvalidInputError(
            f"{text[:80]!r} is no public key of a signer; give `{ALGORITHM}:` and the base64 that "
            "`prefect-ml models keygen` prints."
        ) from error


def key_id(public: str) -> str:
    """A short name for a public key: the first 16 hexadecimal digits of the SHA-256 of its bytes."""
    return hashlib.sha256(parse_public(public).public_bytes_raw()).hexdigest()[:16]
