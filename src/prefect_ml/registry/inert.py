"""Text of people within markdown: shown as it was written, never obeyed."""

from __future__ import annotations

import re
import unicodedata

_PLAIN = re.compile(r"[^A-Za-z0-9 .,+\u00a0-\U0010ffff-]")
# Where a renderer of GitHub's dialect makes a link by itself, some of them after entities are resolved.
_LINKED = re.compile(r"(?i)(?<=www)(?=\.)|(?<=:)(?=//)|(?<=[\w.+-])(?=@)")
# Breaks no word and no line, has no width, and is part of no address.
_JOINER = "\u2060"
_MAX_TEXT = 300


def escape(text: object, longest: int = _MAX_TEXT) -> str:
    """Text of people as inert markdown: one line, bounded in length, every special character an entity.

    So it can neither close a table, nor be HTML, a link or a template; nor become a link by what it looks like.
    """
    line = "".join(" " if c.isspace() else c for c in str(text) if c.isspace() or unicodedata.category(c)[0] != "C")
    cut = line if len(line) <= longest else line[: longest - 3] + "..."
    return _PLAIN.sub(lambda match: f"&#{ord(match.group())};", _LINKED.sub(_JOINER, cut))
