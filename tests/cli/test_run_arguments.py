"""The short way to read the arguments of `prefect-ml run` means what the long way does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.cli import app
from prefect_ml.cli.run_arguments import PlainRun, plain_run

WORDS = [
    ".", "https://host/a.git@v1#sub", "a b", "main.py", "x=1", "y=a=b", "=", "-", "--", "-1", "", "1", "true", "[1]",
    "-P", "--param", "-e", "--entry-point", "-v", "--revision", "--experiment", "--name", "--json", "--no-json",
    "--uri", "-Px=1", "--param=x=1", "--experiment=e", "--flow", "--refresh", "--help", "-h", "--grace", "3", "run",
]  # fmt: skip


def at_length(words: list[str]) -> PlainRun:
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    found = dict(bound.arguments)
    return PlainRun(**{name: found[name] for name in PlainRun._fields})


PIECES = st.one_of(
    st.tuples(st.sampled_from(["-P", "--param", "-e", "-v", "--experiment", "--name"]), st.sampled_from(WORDS)),
    st.tuples(st.sampled_from(["--json", ".", "a b", "-1", "[1]", "=", "main.py"])),
    st.tuples(st.sampled_from(WORDS)),
)


@given(st.lists(PIECES, max_size=4))
@settings(max_examples=150, deadline=None)
def test_what_is_read_the_short_way_is_what_the_long_way_reads(pieces):
    words = [word for piece in pieces for word in piece]
    if (short := plain_run(["run", *words])) is not None:
        assert short == at_length(["run", *words])


def test_what_most_people_write_is_read_the_short_way():
    words = ["run", "git@host:a.git", "-P", "x=1", "-e", "train", "--experiment", "e", "-P", "y=2", "--json"]
    assert plain_run(words) == PlainRun("git@host:a.git", ("x=1", "y=2"), "train", experiment="e", json=True)
    assert plain_run(words) == at_length(words)
    assert plain_run(["run", "."]) == at_length(["run", "."])


@pytest.mark.parametrize(
    "words",
    ["", "runs .", "run", "run . b", "run . --flow", "run . --help", "run . -P", "run . -P -x", "run . -e a -e b"],
)
def test_everything_else_is_left_to_the_long_way(words):
    assert plain_run(words.split()) is None
