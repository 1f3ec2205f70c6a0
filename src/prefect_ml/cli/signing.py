"""`prefect-ml models keygen`, `sign`, `verify` and `scan`: who made a model, and what it would run."""

from __future__ import annotations

from pathlib import Path

from prefect_ml.cli.output import Json, console, emit, print_json
from prefect_ml.models.signing import is_trusted
from prefect_ml.settings import Settings


def keygen(file: Path, *, json: Json = False) -> None:
    """Make a signer's key: the private one in a new file of mode 0600, the public one is printed.

    Args:
        file: The new file.
        json: Print JSON for programs.
    """
    from prefect_ml.models.keys import key_id, make_key  # noqa: PLC0415 (only this command needs it)

    public = make_key(file)
    if json:
        print_json({"public_key": public, "key_id": key_id(public)})
    else:
        console.print(f"PREFECT_ML_TRUSTED_SIGNERS={public}", markup=False, soft_wrap=True, highlight=False)


def sign(uri: str, *, key: Path, json: Json = False) -> None:
    """Sign the files of a model, in the place of an older signature; a registered version stays what it is.

    Args:
        uri: A folder that holds an MLmodel file, or a model URI.
        key: The file of the private key that `prefect-ml models keygen` made.
        json: Print JSON for programs.
    """
    from prefect_ml.registry.signing import sign_model  # noqa: PLC0415 (only this command needs it)

    signed = sign_model(uri, key)
    if json:
        print_json({"signer": signed.signer, "key_id": signed.key_id})
    else:
        console.print(f"Signed {uri} by {signed.signer}.", markup=False, soft_wrap=True, highlight=False)


def verify(uri: str, *, json: Json = False) -> int:
    """Say who signed a model; ends with 1 unless it is a signer whom this machine's settings trust.

    Args:
        uri: A folder that holds an MLmodel file, or a model URI.
        json: Print JSON for programs.
    """
    from prefect_ml.registry.signing import signer_of  # noqa: PLC0415 (only this command needs it)

    signed = signer_of(uri)
    trusted = is_trusted(signed, Settings().trusted_signers)
    if json:
        signer = None if signed is None else signed.signer
        print_json({"signer": signer, "trusted": trusted})
    elif signed is None:
        console.print(f"Nobody signed {uri}.", markup=False, soft_wrap=True, highlight=False)
    else:
        known = "is trusted" if trusted else "is not in PREFECT_ML_TRUSTED_SIGNERS"
        console.print(
            f"The files are as {signed.signer} signed them, who {known}.", markup=False, soft_wrap=True, highlight=False
        )
    return 0 if trusted else 1


def scan(uri: str, *, json: Json = False) -> int:
    """Name what each pickle in a model would import; nothing is loaded. Ends with 1 when a file cannot be read through.

    Args:
        uri: A folder, or a model URI.
        json: Print JSON for programs.
    """
    from prefect_ml.models.pickle_files import scan_folder  # noqa: PLC0415 (only this command needs it)
    from prefect_ml.registry.signing import local_folder  # noqa: PLC0415

    found = scan_folder(local_folder(uri))
    if json:
        imports = [{"file": each.file, "module": each.what.module, "name": each.what.name} for each in found.imports]
        print_json({"files": found.files, "pickles": found.pickles, "imports": imports, "unread": found.unread})
    else:
        rows = [(each.file, f"{each.what.module}.{each.what.name}") for each in found.imports]
        rows += [(name, f"(not read to its end: {reason})") for name, reason in found.unread.items()]
        title = f"{found.files} files, {len(found.pickles)} of them pickles"
        emit((), json=False, title=title, columns=("file", "would import"), rows=rows)
    return 1 if found.unread else 0
