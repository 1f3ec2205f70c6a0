"""How files are asked for between a `ServedArtifactStore` and the server that it goes through.

`GET <PREFIX>?path=<folder>` lists a folder as JSON, with names counted from the root; `GET`, `PUT` and `DELETE` of
`<PREFIX>/<name>` are those of a file. Digests travel as RFC 9530 writes them.
"""

from __future__ import annotations

import base64
import binascii
import re

from prefect_ml.artifacts.verified import ALGORITHM
from prefect_ml.errors import InvalidInputError

PREFIX = "/api/prefect-ml/artifacts"
DIGEST_HEADER = "Repr-Digest"
# What the artifacts of a server's runs are called, in the words of MLflow's clients.
SERVED = "mlflow-artifacts:/"

_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):\s*(?=,|$)")


def digest_header(digest: str) -> str:
    """A digest ("sha256:<hex>") as RFC 9530 writes it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(digest.removeprefix(ALGORITHM))).decode()}:"


def digest_of(header: str) -> str | None:
    """The SHA-256 in such a header, as `ArtifactInfo` has it; None when it gives none.

    Raises:
        InvalidInputError: it is none.
    """
    found = _DIGEST.search(header)
    if found is None:
        return None
    try:
        raw = base64.b64decode(found[1], validate=True)
    except binascii.Error as error:
        raise InvalidInputError("The digest of the file is no base64; send sha-256=:<base64>:.") from error
    return f"{ALGORITHM}{raw.hex()}"


def etag(digest: str) -> str:
    """The validator of a version of a file, by which a broken download goes on with the same one."""
    return f'"{digest}"'
