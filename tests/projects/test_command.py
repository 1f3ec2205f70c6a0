"""The command of an entry point: whatever a value holds, it arrives as it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.errors import InvalidInputError
from prefect_ml.projects.command import fill
from prefect_ml.projects.definition import EntryPoint

PRINT = f"{sys.executable} -c 'import sys; sys.stdout.write(chr(0).join(sys.argv[1:]))'"
HOSTILE = [
    "; touch x", "$(touch x)", "`touch x`", "a\nb", "-rf", "--help", "'", '"', "\\", "a b", "*", "{x}", "${HOME}", "&",
    "|", "~", "#", "!", "é", "a'\"`$(x)\\", "%s", "$1",
]  # fmt: skip


def run(command: str, values: dict[str, str]) -> list[str]:
    filled = fill(EntryPoint("main", command), values)
    done = subprocess.run(
        filled.words, env={**os.environ, **filled.environment}, capture_output=True, timeout=60, check=True
    )
    return done.stdout.decode().split("\0")


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_is_one_word_without_a_shell(value):
    filled = fill(EntryPoint("main", "python t.py --x {x} -y={x} '{x}z'"), {"x": value})
    assert filled.words == ("python", "t.py", "--x", value, f"-y={value}", f"{value}z")
    assert filled.environment == {}


def test_a_shell_gets_values_as_they_are():
    values = {"x": "\n".join(HOSTILE), "y": "-n", "more": "-rf $(x)", "last": "a b"}
    told = run(f"true && {PRINT} {{x}} \"<{{x}}>\" '<{{x}}>' a{{y}}", values)
    x = values["x"]
    assert told == [x, f"<{x}>", f"<{x}>", "a-n", "--more=-rf $(x)", "--last", "a b"]


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_any_text_passes_a_shell_unchanged(value):
    assert run(f"cd . ; {PRINT} {{x}} \"{{x}}\" '{{x}}'", {"x": value}) == [value] * 3


def test_what_is_not_in_the_command_follows_it():
    assert fill(EntryPoint("m", "python a.py"), {"b": "1", "c": "-2"}).words == (
        "python", "a.py", "--b", "1", "--c=-2",
    )  # fmt: skip
    assert fill(EntryPoint("m", ("python", "./a.py")), {"b": "$(x)"}).words == ("python", "./a.py", "--b", "$(x)")
    by_place = fill(EntryPoint("m", "bash -o pipefail -c 'python \"$1\"' sh {b}"), {"b": "$(x)"})
    assert by_place.words == ("bash", "-o", "pipefail", "-c", 'python "$1"', "sh", "$(x)")
    assert fill(EntryPoint("m", "sh train.sh -c {b}"), {"b": "$(x)"}).words == ("sh", "train.sh", "-c", "$(x)")


@pytest.mark.parametrize(
    "command",
    [
        "bash -c 'python {x}'", 'sh -ec "echo {x}"', "true; bash -c 'echo {x}'", "true && eval {x}",
        "echo `{x}`", "python 'a", "", "python {y}", "env bash -c {x}", "bash -c -- {x}", "bash -c -e 'echo {x}'",
        "bash -co pipefail 'echo {x}'", "(bash +x -c {x})", "y=$(/bin/sh --norc -c {x})", "fish --command {x}",
    ],
)  # fmt: skip
def test_a_command_that_would_run_a_value_is_refused(command):
    with pytest.raises(InvalidInputError):
        fill(EntryPoint("main", command), {"x": "1"})
