"""From where a request comes, as the audit log keeps it: the address is the connection's, all else is only said.

Whoever has the server's token may give any name, in HTTP basic authentication as in the fields of a request. So a name
says who a change was made for, and the address says from where.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from prefect_ml.store.origin import ORIGIN_HEADER, Origin, claimed, one_line

if TYPE_CHECKING:
    from starlette.types import Scope

# The tag in which MLflow's clients name their user.
_USER_TAG = "mlflow.user"
_HEADER = ORIGIN_HEADER.lower().encode()


def request_origin(scope: Scope, channel: str = "rest", request: Any = None) -> Origin:
    """The origin of a request.

    Args:
        scope: ASGI's.
        channel: the way in; that of MLflow's clients, who name themselves, is "mlflow".
        request: the model of its fields, whose tags may name a user.
    """
    headers = dict(scope["headers"])
    address = scope["client"][0] if scope.get("client") else ""
    agent = one_line(headers.get(b"user-agent", b"").decode("latin-1").partition(" ")[0])
    said = claimed(headers.get(_HEADER, b""))
    who = _basic_user(headers.get(b"authorization", b"")) or said.pop("who", "") or _tagged_user(request)
    facts: dict[str, Any] = {"channel": "mlflow" if agent.startswith("mlflow-") else channel, "client": address}
    if agent:
        facts["agent"] = agent
    if said:
        facts["claimed"] = said
    return Origin(who or f"anonymous@{address}", facts)


def _basic_user(authorization: bytes) -> str:
    """The user name of HTTP basic authentication; "" without one."""
    scheme, _, given = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        return one_line(base64.b64decode(given.strip(), validate=True).partition(b":")[0].decode())
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _tagged_user(request: Any) -> str:
    tags = getattr(request, "tags", None)
    pairs = tags if isinstance(tags, list) else []
    return next((one_line(each.value) for each in pairs if getattr(each, "key", "") == _USER_TAG), "")
