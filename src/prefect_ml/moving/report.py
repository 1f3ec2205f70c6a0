"""What a move did, for programs and for people."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from prefect_ml.entities import ArtifactInfo

# More than so many sentences of a kind are counted, not shown, where people read them.
_SHOWN = 100


class Kind(StrEnum):
    EXPERIMENTS = "experiments"
    RUNS = "runs"
    LOGGED_MODELS = "logged models"
    MODELS = "registered models"
    VERSIONS = "model versions"


@dataclass(slots=True)
class Count:
    """How many of a kind were found there; each of them was copied, was here already as it is there, or was not."""

    found: int = 0
    copied: int = 0
    present: int = 0
    refused: int = 0


@dataclass(slots=True)
class Report:
    """What a move did.

    Attributes:
        origin: where things came from.
        target: where they are now.
        counts: by kind.
        points: points of curves that were written and read back.
        files: files of all runs and logged models that are here and there.
        bytes: their sizes together.
        digest: SHA-256 over a line `<digest>  <run or model id>/<name>` for each of them, sorted; equal files have
            equal digests, wherever they are. "" when a store told no digest of one.
        conflicts: what is here with other content and stayed as it is, in sentences.
        failures: what was not taken over, and why.
        left_behind: what cannot be taken over at all.
    """

    origin: str
    target: str
    counts: dict[Kind, Count] = field(default_factory=lambda: {kind: Count() for kind in Kind})
    points: int = 0
    files: int = 0
    bytes: int = 0
    digest: str = ""
    conflicts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything that can be moved is here as it is there."""
        return not self.conflicts and not self.failures

    def document(self) -> dict[str, Any]:
        """The report as plain values."""
        names = ("origin", "target", "points", "files", "bytes", "digest", "conflicts", "failures", "left_behind")
        counts = {
            str(kind): {name: getattr(count, name) for name in ("found", "copied", "present", "refused")}
            for kind, count in self.counts.items()
        }
        return {"complete": self.complete, "counts": counts, **{name: getattr(self, name) for name in names}}

    def markdown(self) -> str:
        lines = [
            f"# From {_code(self.origin)} to {_code(self.target)}",
            "",
            "Everything that can be moved is here as it is there."
            if self.complete
            else f"{len(self.conflicts)} conflicts, {len(self.failures)} failures; see below.",
            "",
            "| | found | copied | here already | refused |",
            "|---|---|---|---|---|",
            *(f"| {kind} | {c.found} | {c.copied} | {c.present} | {c.refused} |" for kind, c in self.counts.items()),
            "",
            self._totals(),
        ]
        for title, told in (
            ("Conflicts", self.conflicts),
            ("Failures", self.failures),
            ("Left behind", self.left_behind),
        ):
            lines += _section(title, told)
        return "\n".join(lines) + "\n"

    def _totals(self) -> str:
        return (
            f"{self.points} points of curves were written and read back. {self.files} files with {self.bytes} bytes; "
            f"digest over all of them: `{self.digest or 'unknown'}`."
        )


class Notes:
    """A report that several threads write."""

    def __init__(self, origin: str, target: str) -> None:
        self.report = Report(origin, target)
        self._lock = threading.Lock()
        self._lines: list[str] | None = []

    def count(self, kind: Kind, what: str, number: int = 1) -> None:
        """Add to one of the numbers of a kind."""
        with self._lock:
            count = self.report.counts[kind]
            setattr(count, what, getattr(count, what) + number)

    def wrote_points(self, number: int) -> None:
        with self._lock:
            self.report.points += number

    def conflict(self, sentence: str) -> None:
        with self._lock:
            self.report.conflicts.append(sentence)

    def failure(self, sentence: str) -> None:
        with self._lock:
            self.report.failures.append(sentence)

    def holds(self, id: str, infos: Sequence[ArtifactInfo]) -> None:
        """Note which files a run or logged model has here."""
        with self._lock:
            self.report.files += len(infos)
            self.report.bytes += sum(info.size or 0 for info in infos)
            if any(info.digest is None for info in infos):
                self._lines = None
            elif self._lines is not None:
                self._lines += [f"{info.digest}  {id}/{info.name}" for info in infos]

    def finish(self, left_behind: Iterable[str]) -> Report:
        report = self.report
        report.left_behind += left_behind
        report.conflicts.sort()
        report.failures.sort()
        if self._lines is not None:
            listing = "".join(f"{line}\n" for line in sorted(self._lines))
            report.digest = f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
        return report


def _section(title: str, told: Sequence[str]) -> list[str]:
    if not told:
        return []
    more = [f"- … and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
    return ["", f"## {title}", "", *(f"- {_escape(sentence)}" for sentence in told[:_SHOWN]), *more]


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _escape(text: str) -> str:
    """A sentence that may quote anything, as one line of plain text in Markdown."""
    flat = " ".join(text.split())
    return "".join(f"\\{each}" if each in "\\`*_{}[]<>#|!" else each for each in flat)
