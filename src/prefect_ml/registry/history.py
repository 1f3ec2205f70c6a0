"""Where an alias pointed at a time."""

from __future__ import annotations

from datetime import datetime

from prefect_ml.entities import Alias
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.store.contract import Store

_TIMES = range(2**63)


def alias_at(store: Store, name: str, alias: str, at: datetime | int) -> Alias:
    """Where an alias pointed at a time, and which move had put it there.

    Args:
        store: that has the model.
        name: the registered model; it need not be there any more.
        alias: the alias, such as "champion".
        at: a datetime, of the time zone of this machine when it names none; or milliseconds since the epoch.

    Raises:
        NotFoundError: it pointed nowhere then.
        InvalidInputError: a time before 1970, or nothing that is a time.
    """
    found = store.alias_at(name, alias, _milliseconds(at))
    if found is None or found.version is None:
        raise NotFoundError(
            f"The alias {alias!r} of model {name!r} pointed nowhere at {_shown(at)}; see all its moves with: "
            f"prefect-ml models history {name} {alias}"
        )
    return Alias(
        name=found.name,
        alias=found.alias,
        version=found.version,
        generation=found.generation,
        previous_version=found.previous_version,
        moved_at=found.moved_at,
        moved_by=found.moved_by,
        request_id=found.request_id,
    )


def moment(text: str) -> datetime:
    """A time as people write it: ISO 8601, of the time zone of this machine when it names none.

    Raises:
        InvalidInputError: the text is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(
            f"{text!r} is no time; write it like 2026-11-01T12:00, or 2026-11-01T12:00+01:00 in another time zone."
        ) from None


def _milliseconds(at: datetime | int) -> int:
    try:
        found = int(at.timestamp() * 1000) if isinstance(at, datetime) else at
    except (OverflowError, ValueError, OSError):
        found = -1
    if type(found) is not int or found not in _TIMES:
        raise InvalidInputError(
            f"{_shown(at)} is no time since 1970; give a datetime, or milliseconds since the epoch."
        )
    return found


def _shown(at: object) -> str:
    return at.isoformat() if isinstance(at, datetime) else repr(at)
