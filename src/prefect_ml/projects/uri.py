"""Where a project is: a folder, a repository at a revision, or a bundle, with a folder below it.

`FOLDER_OR_REPOSITORY[@revision][#subdirectory]`, such as `https://example.org/team/churn.git@v1.2#training`. MLflow
writes the subdirectory the same way, and the revision as an option of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prefect_ml.artifacts.names import split_name
from prefect_ml.errors import InvalidInputError, InvalidNameError
from prefect_ml.projects.paths import is_there, path_of

# What git may speak; `ext::` and the like run programs that a URL names.
SCHEMES = ("https", "ssh", "http", "file")
_MOST = 2000
_SCP = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9][\w.-]*:(?!/)[\w.~/-]+", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)
# git-check-ref-format(1), and what it allows to say of ancestors left out.
_REVISION = re.compile(r"(?![-/.])(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)))[\w./+@-]{1,250}(?<![/.])", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ProjectKind(StrEnum):
    """What a project is read from."""

    FOLDER = "folder"
    GIT = "git"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True)
class ProjectUri:
    """A parsed project URI.

    Attributes:
        kind: what it is read from.
        location: the folder's path, the repository's URL, or the bundle's SHA-256 in hex.
        revision: branch, tag or commit; None for the repository's own choice.
        subdirectory: folder of the project below that, with forward slashes; "" for the root.
    """

    kind: ProjectKind
    location: str
    revision: str | None = None
    subdirectory: str = ""

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> ProjectUri:
        """Parse what a person or a file wrote.

        Args:
            text: the URI.
            revision: instead of one after `@`; both only when they are the same.

        Raises:
            InvalidInputError: it names nothing that a project can be read from, has a password in it, or would make
                git run something.
        """
        if not isinstance(text, str) or not text.strip() or len(text) > _MOST or _has_control(text):
            raise InvalidInputError(
                "A project is a folder or the URL of a git repository, on one line, such as "
                "'https://example.org/team/churn.git@v1.2#training'."
            )
        rest, _, subdirectory = text.strip().partition("#")
        folder = _subdirectory(subdirectory)
        if rest.startswith("bundle:"):
            return cls(ProjectKind.BUNDLE, _bundle(rest, revision), None, folder)
        if not _is_remote(rest):
            if revision is None and not is_there(path_of(rest)):
                rest, revision = _split_revision(rest, None)
            return cls._of_folder(rest, revision, folder)
        location, found = _split_revision(rest, revision)
        return cls(ProjectKind.GIT, _repository(location), found, folder)

    @classmethod
    def _of_folder(cls, path: str, revision: str | None, subdirectory: str) -> ProjectUri:
        if path.startswith("-"):
            raise InvalidInputError(f"A folder cannot begin with a dash: {path!r}; write './{path}'.")
        folder = str(path_of(path or ".").absolute())
        if revision is None:
            return cls(ProjectKind.FOLDER, folder, None, subdirectory)
        # A revision is asked of the repository, whatever its working tree has.
        return cls(ProjectKind.GIT, Path(folder).as_uri(), _checked_revision(revision), subdirectory)

    def __str__(self) -> str:
        """The URI that parses to this; it holds no credentials."""
        location = f"bundle:sha256:{self.location}" if self.kind is ProjectKind.BUNDLE else self.location
        revision = f"@{self.revision}" if self.revision else ""
        return f"{location}{revision}" + (f"#{self.subdirectory}" if self.subdirectory else "")

    def pinned(self, commit: str) -> ProjectUri:
        """The same project at one commit for ever."""
        return ProjectUri(self.kind, self.location, commit, self.subdirectory)


def _is_remote(text: str) -> bool:
    if "://" in text or "::" in text:
        return True
    return ":" in text.split("/", 1)[0] and not is_there(path_of(text))


def _has_control(text: str) -> bool:
    return any(character < " " or character == "\x7f" for character in text)


def _subdirectory(text: str) -> str:
    given = unquote(text).strip("/")
    if given in {"", "."}:
        return ""
    try:
        return "/".join(split_name(given))
    except InvalidNameError as error:
        raise InvalidInputError(f"The subdirectory {text!r} is none below the project's root: {error}") from None


def _split_revision(text: str, given: str | None) -> tuple[str, str | None]:
    """The URL and the revision after its last `@`, where that is not the user before a host."""
    authority, separator, path = text.partition("://") if "://" in text else text.partition(":")
    if not separator:
        authority, path = "", text
    host, slash, below = path.partition("/") if "://" in text else ("", "", path)
    before, at, found = below.rpartition("@")
    if not at:
        return text, _checked_revision(given) if given else None
    if given and given != found:
        raise InvalidInputError(f"The project names the revision {found!r}, and {given!r} is asked for; give one.")
    return f"{authority}{separator}{host}{slash}{before}", _checked_revision(found)


def _checked_revision(text: str) -> str:
    if not _REVISION.fullmatch(text):
        raise InvalidInputError(f"{text!r} is no branch, tag or commit of git.")
    return text


def _repository(text: str) -> str:
    if "://" not in text:
        if _SCP.fullmatch(text) and "::" not in text:
            return text
        raise _unknown(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _unknown(text) from None
    if parts.scheme not in SCHEMES:
        raise InvalidInputError(
            f"Projects are not read by {parts.scheme[:20]!r}; use {', '.join(SCHEMES)} or a folder."
        )
    if parts.password is not None or (parts.username and parts.scheme in {"http", "https"}):
        raise InvalidInputError(
            "The project's URL has credentials in it, and URLs are kept and shown: leave them out, and let git's "
            "credential helper or an SSH key answer for you."
        )
    if parts.query or (parts.username and not _USER.fullmatch(parts.username)):
        raise _unknown(text)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path:
            raise _unknown(text)
        return text
    if not _HOST.fullmatch(parts.hostname or "") and not _HOST.fullmatch(f"[{parts.hostname}]"):
        raise _unknown(text)
    del port  # reading it checked it
    return text


def _bundle(text: str, revision: str | None) -> str:
    digest = text.removeprefix("bundle:").removeprefix("sha256:")
    if not _DIGEST.fullmatch(digest) or revision:
        raise InvalidInputError("A bundle is 'bundle:sha256:<64 hex digits>', without a revision.")
    return digest


def _unknown(text: str) -> InvalidInputError:
    return InvalidInputError(f"{text[:200]!r} is no folder here and no URL of a git repository.")
