"""The uncommitted changes of a repository as one small patch without secrets."""

from __future__ import annotations

import functools
import re

from prefect_ml.tracking.capture.git import git_diff
from prefect_ml.tracking.capture.redact import is_secret_file, redacted

# Enough for what people change by hand; more is data or generated.
MOST_BYTES = 1_000_000
_MOST_NAMED = 100
_SECTION = re.compile(r"^(?=diff --git )", re.MULTILINE)


@functools.lru_cache(maxsize=8)
def changes(folder: str) -> str:
    """The changes of tracked files since HEAD, as first found; "" when there are none.

    `git apply` takes it where no removed line held a secret. A file whose changes would make it larger than 1 MB, and
    one that is there for secrets, is named in a comment instead.
    """
    kept: list[str] = []
    left_out: list[str] = []
    size = 0
    for section in _SECTION.split(git_diff(folder)):
        if not section.strip():
            continue
        part = section if section.endswith("\n") else f"{section}\n"
        if size + len(part.encode()) > MOST_BYTES:
            left_out.append(f"# {_name(part)}: {len(part)} characters of changes are left out\n")
            continue
        kept.append(_without_secrets(part))
        size += len(kept[-1].encode())
    if len(left_out) > _MOST_NAMED:
        left_out[_MOST_NAMED:] = [f"# … and of {len(left_out) - _MOST_NAMED} more files\n"]
    return "".join(kept + left_out)


def _without_secrets(section: str) -> str:
    names = _names(section)
    if any(is_secret_file(name) for name in names):
        return f"# {_name(section)}: changes are left out, since such files hold secrets\n"
    head, *hunks = re.split(r"^(?=@@ )", section, flags=re.MULTILINE)
    return "".join([head, *(_hunk(hunk) for hunk in hunks)])


def _hunk(hunk: str) -> str:
    first, *lines = hunk.removesuffix("\n").split("\n")
    return "\n".join([*redacted([first]), *redacted(lines, marks=1)]) + "\n"


def _names(section: str) -> list[str]:
    """The names of the file before and after; those of binary and empty files stand in the first line alone."""
    lines = section.split("\n@@ ", 1)[0].split("\n")
    named = [line[4:] for line in lines if line.startswith(("--- ", "+++ "))]
    first = lines[0].removeprefix("diff --git ")
    return [name.strip().strip('"') for name in [*named, first, *first.split(" b/"), *first.split(' "b/')]]


def _name(section: str) -> str:
    found = [name[2:] for name in _names(section)[:2] if name.startswith(("a/", "b/"))]
    return found[0] if found else section.split("\n", 1)[0].removeprefix("diff --git ")
