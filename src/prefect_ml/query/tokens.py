"""From text to tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from prefect_ml.errors import InvalidFilterError

TokenKind = Literal[
    "word", "backtick", "double", "single", "number", "operator", "dot", "open", "close", "comma", "end"
]

# Room for a list of some thousand run ids.
MAX_LENGTH = 200_000

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w]))
  | (?P<word>[^\W\d][\w/-]*|\d[\w/-]*)
  | (?P<backtick>`(?:[^`]|``)*+`)
  | (?P<double>"(?:[^"\\]|\\.|"")*+")
  | (?P<single>'(?:[^'\\]|\\.|'')*+')
  | (?P<operator>!=|<>|<=|>=|=|<|>)
  | (?P<dot>\.)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<comma>,)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = {
    "single": re.compile(r"\\(?P<escaped>['\"\\])|'(?P<twice>')"),
    "double": re.compile(r"\\(?P<escaped>['\"\\])|\"(?P<twice>\")"),
    "backtick": re.compile(r"`(?P<twice>`)"),
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token, with its text as written, its value (quotes taken off), and where it starts."""

    kind: TokenKind
    text: str
    value: str
    at: int


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, the last one of kind "end".

    A quote within quotes is written twice, or behind a backslash; a backslash before anything but a quote or another
    backslash stands for itself. Within backticks only the former counts.

    Raises:
        InvalidFilterError: the text is too long, or has a character or an open quote that fits nowhere.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidFilterError(f"The filter is longer than {MAX_LENGTH} characters; search for less at once.")
    _refuse_unstorable(text)
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            quote = text[at] in "`'\""
            what = f"The quote {text[at]} is not closed" if quote else f"{text[at]!r} is not expected"
            raise InvalidFilterError(
                f"Invalid clause(s) in filter string: {text[at:][:60]!r}. {what} at position {at}."
            )
        if match.lastgroup != "space":
            tokens.append(_token(match))
        at = match.end()
    return [*tokens, Token("end", "", "", len(text))]


def _token(match: re.Match[str]) -> Token:
    kind: TokenKind = match.lastgroup  # type: ignore[assignment]  # the pattern's groups are the kinds
    text = match.group()
    value = text
    if escaped := _ESCAPED.get(kind):
        value = escaped.sub(lambda found: found.group(found.lastgroup or 0), text[1:-1])
    return Token(kind, text, value, match.start())


def _refuse_unstorable(text: str) -> None:
    """Refuse what no store can hold, and so nobody can search for: a NUL character, half of a surrogate pair."""
    if "\x00" in text:
        raise InvalidFilterError(f"There is a NUL character at position {text.index(chr(0))}; remove it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidFilterError(f"There is half of a surrogate pair at position {error.start}; remove it.") from None
