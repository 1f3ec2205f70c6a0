"""The command of an entry point with its parameters filled in.

A command that is only words is split once, and each value becomes a part of one word, whatever is in it: no shell
reads it. A command that needs a shell gets each value by an environment variable, so that the shell never parses it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

from prefect_ml.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect_ml.projects.definition import EntryPoint

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}", re.ASCII)
# Whatever makes a shell do more than split words: operators, expansions, globs, comments, tildes, newlines.
_SHELL = re.compile(r"[|&;<>()$`\n*?\[\]#~!]|^\w+=|\{[^{}]*,[^{}]*\}")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish"})
_VARIABLE = "PREFECT_ML_PARAMETER_"


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is ready to run.

    Attributes:
        words: program and arguments.
        environment: variables that it needs besides.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def fill(entry_point: EntryPoint, values: Mapping[str, str]) -> Command:
    """The command with its values; those that its text does not name follow as `--name value`.

    Raises:
        InvalidInputError: the command names a parameter that has no value, is no command, or hands a value to a shell
            of its own as code.
    """
    if isinstance(entry_point.command, tuple):
        return Command((*entry_point.command, *_options(values)))
    text = entry_point.command.strip()
    named = set(_PLACE.findall(text))
    if unknown := sorted(named - set(values)):
        raise InvalidInputError(
            f"The command of {entry_point.name!r} needs {', '.join(unknown)}, which the entry point does not declare."
        )
    rest = {name: value for name, value in values.items() if name not in named}
    if _SHELL.search(_without_quoted(_PLACE.sub("x", text))):
        return _by_shell(entry_point.name, text, values, rest)
    words = _split(entry_point.name, text)
    _refuse_code(entry_point.name, words)
    filled = tuple(_PLACE.sub(lambda place: values[place[1]], word) for word in words)
    return Command((*filled, *_options(rest)))


def _options(values: Mapping[str, str]) -> tuple[str, ...]:
    # One word each where the value could be read as an option itself.
    return tuple(
        word
        for name, value in values.items()
        for word in ((f"--{name}={value}",) if value.startswith("-") else (f"--{name}", value))
    )


def _split(name: str, text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidInputError(f"The command of {name!r} has quotes that do not close: {error}.") from error
    if not words:
        raise InvalidInputError(f"The entry point {name!r} has no command.")
    return words


def _refuse_code(name: str, words: list[str]) -> None:
    """A shell that is started by name with `-c` would read a value as code."""
    for at, word in enumerate(words):
        started = PurePath(re.split(r"[\s;&|(){}$`=]", word)[-1]).name
        if started in _SHELLS and _PLACE.search(_code(words[at + 1 :])):
            raise InvalidInputError(
                f"The command of {name!r} puts a parameter into the code of a shell; write the command without "
                "`sh -c`, which is not needed."
            )


def _code(arguments: list[str]) -> str:
    """What a shell takes for code: the word behind its options, where one of them is `-c`."""
    asked, rest = False, iter(arguments)
    for word in rest:
        if word.startswith("--command"):
            return f"{word} {next(rest, '')}"
        if not word.startswith(("-", "+")):
            return word if asked else ""
        if word in {"-", "--"}:
            return next(rest, "") if asked else ""
        short = not word.startswith("--")
        asked |= short and "c" in word.lower()
        if (short and word[-1] in "oO") or word in {"--rcfile", "--init-file"}:
            next(rest, None)
    return ""


def _without_quoted(text: str) -> str:
    """The text with single-quoted parts, and what of double-quoted ones a shell leaves alone, taken out."""
    text = re.sub(r"'[^']*'", "q", text)
    return re.sub(r'"[^"$`\\]*"', "q", text)


def _by_shell(name: str, text: str, values: Mapping[str, str], rest: Mapping[str, str]) -> Command:
    quiet = _PLACE.sub("x", text)
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise InvalidInputError(f"The command of {name!r} has quotes that do not close: {error}.") from error
    _refuse_code(name, words)
    if re.search(r"\b(eval|source)\b|`|\$\(", quiet) and re.search(r"(eval|source)[^;&|\n]*\{|`[^`]*\{", text):
        raise InvalidInputError(f"The command of {name!r} lets a shell run the text of a parameter; write it without.")
    variables = {f"{_VARIABLE}{number}": value for number, value in enumerate(values.values())}
    by_name = dict(zip(values, variables, strict=True))
    script = "".join(_expanded(text, by_name)) + ' "$@"' * bool(rest)
    return Command(("/bin/sh", "-c", script, "sh", *_options(rest)), variables)


def _expanded(text: str, variables: Mapping[str, str]) -> list[str]:
    """The text with an expansion in each place of a parameter, quoted as the quotes around it ask."""
    parts: list[str] = []
    quote, at = "", 0
    while at < len(text):
        character, place = text[at], _PLACE.match(text, at)
        if place is not None:
            inner = f"${{{variables[place[1]]}}}"
            parts.append({"": f'"{inner}"', '"': inner, "'": f"'\"{inner}\"'"}[quote])
            at = place.end()
            continue
        if character == "\\" and quote != "'":
            parts.append(text[at : at + 2])
            at += 2
            continue
        if character in "'\"":
            quote = "" if quote == character else quote or character
        parts.append(character)
        at += 1
    return parts
