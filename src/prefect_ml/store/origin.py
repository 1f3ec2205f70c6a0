"""From where a change comes: said at an entrance, read where its audit row is written.

An entrance is the command line, a request to a server, a flow run; what is said there holds for everything that is
called within it, so that nothing in between passes it on. Where nobody said anything, this process is the origin.
"""

from __future__ import annotations

import functools
import getpass
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

# The header in which `HttpStore` says of itself what `told` gives.
ORIGIN_HEADER = "Prefect-ML-Origin"
# Longer words of a client are cut: they are for people who read the audit log.
MAX_WORD = 200
_LONGEST_HEADER = 4_000
_SAID = ("channel", "host", "flow_run", "who")


@dataclass(frozen=True, slots=True)
class Origin:
    """From where a change comes.

    Attributes:
        who: whose change it is where the change itself names nobody; "" when that is not known.
        facts: what the audit row keeps: "channel" (such as "cli", "python", "flow", "rest", "mlflow"), "host" of the
            process, "flow_run" of Prefect, "client" for the address of a request's sender, "agent" for its program,
            "claimed" for what a client says of itself.
    """

    who: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


_here: ContextVar[Callable[[], Origin] | None] = ContextVar("prefect_ml_origin", default=None)
_finders: list[Callable[[], Mapping[str, object]]] = []


def here() -> Origin:
    """The origin of what is done here and now."""
    found = _here.get()
    return local() if found is None else found()


def local() -> Origin:
    """This process as an origin, with what the finders know of it."""
    facts: dict[str, object] = {"channel": "python", "host": host()}
    for find in _finders:
        facts |= find()
    return Origin(user(), facts)


@contextmanager
def origin(**facts: object) -> Iterator[None]:
    """Within, these facts are told besides those of what is around."""
    around = _here.get() or local

    def find() -> Origin:
        found = around()
        return replace(found, facts={**found.facts, **facts})

    with within(find):
        yield


class within:  # noqa: N801  used as a function, and cheaper than one: every request to a server passes it
    """Within, `find` says where changes come from; it is asked only when there is one."""

    __slots__ = ("_before", "_find")

    def __init__(self, find: Callable[[], Origin]) -> None:
        self._find = find

    def __enter__(self) -> None:
        self._before = _here.set(self._find)

    def __exit__(self, *_: object) -> None:
        _here.reset(self._before)


def told() -> str:
    """What a client says of the origin here to a server, in ASCII."""
    found = here()
    return json.dumps({"who": found.who, **{key: found.facts[key] for key in _SAID if key in found.facts}})


def claimed(header: bytes) -> dict[str, str]:
    """What a client says of itself, as far as it is words; nothing when it says nothing that can be read."""
    try:
        said = json.loads(header) if len(header) <= _LONGEST_HEADER else None
    except (ValueError, RecursionError):
        return {}
    words = {key: said[key] for key in _SAID if isinstance(said.get(key), str)} if isinstance(said, dict) else {}
    return {key: word for key, text in words.items() if (word := one_line(text))}


def one_line(text: str) -> str:
    """What can be printed of a client's text, of bounded length."""
    return "".join(each for each in text if each.isprintable()).strip()[:MAX_WORD]


def also_tell(find: Callable[[], Mapping[str, object]]) -> None:
    """Ask `find` too what is to be told of this process; it is called at each change, and fails never."""
    if find not in _finders:
        _finders.append(find)


@functools.cache
def host() -> str:
    """The name of this machine."""
    import socket  # noqa: PLC0415 - takes longer to load than what most commands do

    return socket.gethostname()[:MAX_WORD]


@functools.cache
def user() -> str:
    """The name of who runs this process, "" when the system does not know one."""
    try:
        return getpass.getuser()[:MAX_WORD]
    except (KeyError, OSError, ImportError):
        return ""
