"""From text to tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from prefect_ml.errors import InvalidFilterError

TokenKind = Literal[
    "word", "backtick", "double", "single", "number", "operator", "dot", "open", "close", "comma", "end"
]

MAX_LENGTH = 20_000

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w]))
  | (?P<word>[^\W\d][\w/-]*|\d[\w/-]*)
  | (?P<backtick>`[^`]*`)
  | (?P<double>"(?:[^"\\]|\\.)*")
  | (?P<single>'(?:[^'\\]|\\.)*')
  | (?P<operator>!=|<>|<=|>=|=|<|>)
  | (?P<dot>\.)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<comma>,)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED_QUOTE = re.compile(r"\\(['\"\\])")


@dataclass(frozen=True, slots=True)
class Token:
    """A token, with its text as written, its value (quotes taken off), and where it starts."""

    kind: TokenKind
    text: str
    value: str
    at: int


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, the last one of kind "end".

    Raises:
        InvalidFilterError: the text is too long, or has a character or an open quote that fits nowhere.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidFilterError(f"The filter is longer than {MAX_LENGTH} characters; search for less at once.")
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            quote = text[at] in "`'\""
            what = f"The quote {text[at]} is not closed" if quote else f"{text[at]!r} is not expected"
            raise InvalidFilterError(f"Invalid filter string: {text!r}. {what} at position {at}.")
        if match.lastgroup != "space":
            tokens.append(_token(match))
        at = match.end()
    return [*tokens, Token("end", "", "", len(text))]


def _token(match: re.Match[str]) -> Token:
    kind: TokenKind = match.lastgroup  # type: ignore[assignment]  # the pattern's groups are the kinds
    text = match.group()
    value = text
    if kind in ("backtick", "double", "single"):
        value = text[1:-1]
    if kind in ("double", "single"):
        value = _ESCAPED_QUOTE.sub(r"\1", value)
    return Token(kind, text, value, match.start())
