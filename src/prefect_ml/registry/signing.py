"""Signing models where they are kept, and looking who signed them."""

from __future__ import annotations

from pathlib import Path

from prefect_ml.artifacts.contract import ArtifactStore
from prefect_ml.artifacts.durable import write_text
from prefect_ml.artifacts.local import LocalArtifactStore
from prefect_ml.artifacts.names import HIDDEN
from prefect_ml.models.digest import SIGNATURE_FILE
from prefect_ml.models.signing import ModelSigned, sign_folder, signed_by
from prefect_ml.models.uri import ModelUri, UriKind
from prefect_ml.registry.resolve import fetch, fetch_signature, place_of, resolve
from prefect_ml.settings import Settings
from prefect_ml.store import open_store


def sign_model(uri: str, key: str | Path) -> ModelSigned:
    """Sign a model's files as they are, verified against the digest that was registered, and keep the signature there.

    Args:
        uri: a folder, or a model URI. A version's digest stays what it was: the signature is no part of it.
        key: the file of the private key, which `prefect-ml models keygen` made.

    Raises:
        NotFoundError: there is no such model or key.
        CorruptArtifactError: its files are not those that were registered.
        InvalidInputError: the key cannot be used.
    """
    parsed = ModelUri.parse(uri)
    if parsed.kind is UriKind.FOLDER:
        return sign_folder(Path(parsed.path), Path(key))
    resolved = resolve(open_store(), uri)
    folder = fetch(resolved, Settings().cache_folder)
    signed = sign_folder(folder, Path(key))
    _keep(folder / SIGNATURE_FILE, *place_of(resolved))
    return signed


def signer_of(uri: str) -> ModelSigned | None:
    """Who signed a model, None when nobody did; trusts nobody.

    Raises:
        NotFoundError: there is no such model.
        CorruptArtifactError: its files are not those that were registered or signed.
    """
    return signed_by(local_folder(uri))


def local_folder(uri: str) -> Path:
    """The verified files of a model on this machine, with the signature that its source has now."""
    parsed = ModelUri.parse(uri)
    if parsed.kind is UriKind.FOLDER:
        return Path(parsed.path)
    resolved = resolve(open_store(), uri)
    folder = fetch(resolved, Settings().cache_folder)
    fetch_signature(resolved, folder)
    return folder


def _keep(signature: Path, artifacts: ArtifactStore, name: str) -> None:
    """Write the signature beside the files that it signs."""
    if not isinstance(artifacts, LocalArtifactStore):
        artifacts.put(f"{name}/{SIGNATURE_FILE}" if name else SIGNATURE_FILE, signature)
        return
    folder = Path(artifacts.uri, name)
    # The store that notes the digests of these files. In the model's own folder notes would be files of the model.
    root = next((above for above in folder.parents if (above / HIDDEN).is_dir()), None)
    if root is None:
        write_text(folder / SIGNATURE_FILE, signature.read_text(), folder.parent)
    else:
        LocalArtifactStore(root).put(f"{folder.relative_to(root).as_posix()}/{SIGNATURE_FILE}", signature)
