"""The filter and order-by language: what parses, to what, and that nothing else is raised but its own error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.errors import InvalidFilterError
from prefect_ml.query import (
    EXPERIMENTS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    RUNS,
    Comparison,
    OrderBy,
    parse_filter,
    parse_order_by,
)

GRAMMARS = [RUNS, EXPERIMENTS, REGISTERED_MODELS, MODEL_VERSIONS]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  \n ", ()),
        ("metrics.auc > 0.9", (Comparison("metric", "auc", ">", 0.9),)),
        ("metric.`a b.c` <= -1e3", (Comparison("metric", "a b.c", "<=", -1000.0),)),
        ('metrics."m 1" != 0', (Comparison("metric", "m 1", "!=", 0.0),)),
        ("params.c = '1.0'", (Comparison("param", "c", "=", "1.0"),)),
        ('parameters.c LIKE "a%"', (Comparison("param", "c", "LIKE", "a%"),)),
        ("tags.mlflow.parentRunId = 'x'", (Comparison("tag", "mlflow.parentRunId", "=", "x"),)),
        ("tags.`mlflow.parentRunId` ilike 'x'", (Comparison("tag", "mlflow.parentRunId", "ILIKE", "x"),)),
        ("tag.k.v1.2 = 'x'", (Comparison("tag", "k.v1.2", "=", "x"),)),
        ("status = 'FINISHED'", (Comparison("attribute", "status", "=", "FINISHED"),)),
        ("attr.status <> 'FINISHED'", (Comparison("attribute", "status", "!=", "FINISHED"),)),
        (
            "attributes.start_time >= 1700000000000",
            (Comparison("attribute", "start_time", ">=", 1700000000000),),
        ),
        ("`run name` = 'a'", (Comparison("attribute", "run_name", "=", "a"),)),
        ("Created < 5", (Comparison("attribute", "start_time", "<", 5),)),
        ("run_id IN ('a', \"b\",)", (Comparison("attribute", "run_id", "IN", ("a", "b")),)),
        ("run_id not in ('a')", (Comparison("attribute", "run_id", "NOT IN", ("a",)),)),
        (r"params.c = 'it\'s'", (Comparison("param", "c", "=", "it's"),)),
        ("params.c = 'it''s'", (Comparison("param", "c", "=", "it's"),)),
        ('params.c = "a""b\'\'c"', (Comparison("param", "c", "=", "a\"b''c"),)),
        ("params.`a``b` = ''", (Comparison("param", "a`b", "=", ""),)),
        (r"params.c = 'C:\dir\\'", (Comparison("param", "c", "=", "C:\\dir\\"),)),
        (
            "metrics.m3 > 0.9 and params.p2 = 'v7' AND tags.t LIKE '%x%'",
            (
                Comparison("metric", "m3", ">", 0.9),
                Comparison("param", "p2", "=", "v7"),
                Comparison("tag", "t", "LIKE", "%x%"),
            ),
        ),
    ],
)
def test_a_filter_of_runs_becomes_its_comparisons(text, expected):
    assert parse_filter(text, RUNS) == expected


@pytest.mark.parametrize(
    ("text", "grammar", "message"),
    [
        ("evilhax = true", REGISTERED_MODELS, r"Invalid clause\(s\) in filter string: evilhax, =, true"),
        ("evilhax = 'true'", REGISTERED_MODELS, "Invalid attribute key 'evilhax' specified. Valid keys are"),
        ("name!=something", REGISTERED_MODELS, "either not quoted or unidentified quote types .* something"),
        ("run_id = 'a'", REGISTERED_MODELS, "Invalid attribute key 'run_id' specified"),
        ("foo.k = 'a'", RUNS, "Invalid entity type: 'foo'. Expected one of"),
        ("metrics.auc > 'a'", RUNS, "a number without quotes"),
        ("metrics.auc LIKE 'a'", RUNS, "Invalid comparison operator for metrics.auc"),
        ("params.c > 'a'", RUNS, "Invalid comparison operator for params.c"),
        (
            "params.c = 'a' OR params.c = 'b'",
            RUNS,
            r"Invalid clause\(s\) in filter string: 'OR'. Invalid filter string: .* separated by 'AND' at position 15",
        ),
        ("params.c = 'a", RUNS, "not closed at position 11"),
        ("run_id IN ()", RUNS, "non-empty list of string values, but got empty list"),
        ("run_id IN (1, 2, 3)", RUNS, "got different type in list"),
        ("run_id IN ('a' 'b')", RUNS, "expected a non-empty list of string values, but got ill-formed list"),
        ("run_id IN (,)", RUNS, "expected a non-empty list of string values, but got ill-formed list"),
        ("run_id IN ('a'", RUNS, "ill-formed list.* at position 14, got the end"),
        ("run_id IN ('a',,'b')", RUNS, "ill-formed list"),
        ("run_id IN 'a'", RUNS, "a list such as"),
        ("run_id IN (" + "'x'," * 5001 + ")", RUNS, "at most 5000 values, but got 5001"),
        ("params.c = 'it''", RUNS, "not closed at position 11"),
        ("params.c = 'a\x00'", RUNS, "NUL character at position 13"),
        ("params.c = '\ud800'", RUNS, "half of a surrogate pair at position 12"),
        ("metrics.m > 1 AND", RUNS, "Expected an attribute, or an entity .* at position 17"),
        ("metrics.", RUNS, "a key"),
        ("metrics.`` > 1", RUNS, "a key that is not empty"),
        ("params.c =", RUNS, "not quoted"),
        ("metrics.m > 1 " * 15_000, RUNS, "longer than"),
        (" and ".join(["metrics.m > 1"] * 101), RUNS, "at most 100 comparisons"),
        ("metrics.m > 1;", RUNS, "';' is not expected at position 13"),
    ],
)
def test_what_does_not_parse_says_where_and_what_was_expected(text, grammar, message):
    with pytest.raises(InvalidFilterError, match=message):
        parse_filter(text, grammar)


def test_order_by():
    texts = ["metrics.`auc x` DESC", "params.c asc", "start_time", "attribute.run_name desc"]
    assert parse_order_by(texts, RUNS) == (
        OrderBy("metric", "auc x", ascending=False),
        OrderBy("param", "c"),
        OrderBy("attribute", "start_time"),
        OrderBy("attribute", "run_name", ascending=False),
    )
    assert parse_order_by(["timestamp DESC"], REGISTERED_MODELS) == (
        OrderBy("attribute", "last_updated_timestamp", ascending=False),
    )


@pytest.mark.parametrize("text", ["", "creation_timestamp", "name SIDEWAYS", "name ASC DESC", "1 2"])
def test_an_order_that_cannot_be_is_refused(text):
    with pytest.raises(InvalidFilterError):
        parse_order_by([text], REGISTERED_MODELS)


alphabet = st.sampled_from([*"abcIN 'NOT\"`.,()=<>!%\\-0123_\n", "metrics.", "params.", " AND ", " LIKE ", "'x'"])


@given(st.one_of(st.text(), st.lists(alphabet).map("".join)), st.sampled_from(GRAMMARS))
def test_any_text_parses_or_raises_its_own_error(text, grammar):
    with contextlib.suppress(InvalidFilterError):
        parse_filter(text, grammar)
    with contextlib.suppress(InvalidFilterError):
        parse_order_by([text], grammar)


storable = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
keys = st.text(storable, min_size=1, max_size=20)
texts = st.text(storable, max_size=20)
comparisons = st.one_of(
    st.builds(
        Comparison,
        st.just("metric"),
        keys,
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.builds(
        Comparison,
        st.sampled_from(["param", "tag"]),
        keys,
        st.sampled_from(["=", "!=", "LIKE", "ILIKE"]),
        texts,
    ),
    st.builds(
        Comparison,
        st.just("attribute"),
        st.just("run_id"),
        st.sampled_from(["IN", "NOT IN"]),
        st.lists(texts, min_size=1, max_size=3).map(tuple),
    ),
)


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def doubled(text: str, mark: str) -> str:
    return mark + text.replace("\\", "\\\\").replace(mark, mark * 2) + mark


def render(comparison: Comparison) -> str:
    value = comparison.value
    if isinstance(value, tuple):
        written = "(" + ", ".join(quoted(item) for item in value) + ")"
    else:
        written = quoted(value) if isinstance(value, str) else repr(value)
    return f"{comparison.entity}.`{comparison.key.replace('`', '``')}` {comparison.operator} {written}"


@given(st.lists(comparisons, max_size=4))
def test_what_is_rendered_parses_to_the_same(tree):
    assert parse_filter(" AND ".join(map(render, tree)), RUNS) == tuple(tree)


@given(texts, texts)
def test_a_quoted_text_cannot_break_out(text, other):
    found = parse_filter(f"tags.a = {doubled(text, chr(39))} AND tags.b = {doubled(other, chr(34))}", RUNS)
    assert [comparison.value for comparison in found] == [text, other]


def test_a_hostile_text_takes_no_time():
    with pytest.raises(InvalidFilterError, match="not closed"):
        parse_filter("params.a = '" + "\\'" * 90_000, RUNS)


def test_one_order_may_stand_alone_and_there_are_not_too_many():
    assert parse_order_by("name DESC", REGISTERED_MODELS) == (OrderBy("attribute", "name", ascending=False),)
    with pytest.raises(InvalidFilterError, match="at most 20"):
        parse_order_by(["name"] * 21, REGISTERED_MODELS)


@pytest.mark.parametrize(
    ("text", "grammar", "words"),
    [
        ("x y z", RUNS, "Invalid order_by clause 'x y z'. Could not be parsed."),
        ("", RUNS, "Invalid order_by clause ''. Could not be parsed."),
        ("metrics.x DOWN", RUNS, "Expected ASC, DESC or the end at position 10, got 'DOWN'"),
        ("metrics.x DESC, metrics.y", RUNS, "Could not be parsed."),
        (
            "creation_timestamp",
            REGISTERED_MODELS,
            "Invalid order by key 'creation_timestamp' specified. Valid keys are",
        ),
        ("run_id", MODEL_VERSIONS, "Invalid order by key 'run_id' specified. Valid keys are"),
    ],
)
def test_an_order_that_does_not_parse_is_answered_by_a_sentence(text, grammar, words):
    with pytest.raises(InvalidFilterError) as raised:
        parse_order_by([text], grammar)
    assert words in str(raised.value)
