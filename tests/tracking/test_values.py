"""What a caller may log, and the sentence for what cannot be meant."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prefect_ml as ml
from examples import examples
from prefect_ml.entities import Metric, RunBatch, RunEnd, RunStart, RunStatus
from prefect_ml.errors import InvalidInputError, InvalidNameError, ParamConflictError
from prefect_ml.tracking import records, values

NUMBERS = [
    1,
    1.5,
    True + 1,
    Decimal("0.25"),
    Fraction(1, 4),
    np.float32(0.5),
    np.int64(7),
    np.array(3.0),
    np.array([2]),
]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_numbers_of_all_kinds(value):
    assert values.metric_value("m", value) == float(value if np.ndim(value) == 0 else value[0])


@pytest.mark.parametrize(
    "value",
    ["0.5", None, True, np.bool_(1), b"1", 1j, [1.0], {}, np.array([1, 2]), np.str_("a"), 10**400, object()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_number_is_refused_by_name(value):
    with pytest.raises(InvalidInputError, match="The metric 'auc' must be a number, not"):
        values.metric_value("auc", value)


@pytest.mark.parametrize("step", [math.nan, math.inf, 1.5, "3", None, True, 2**63, [1], np.array([1, 2])], ids=repr)
def test_bad_steps(step):
    with ml.start_run("steps") as run, pytest.raises(InvalidInputError, match="step must be a whole number"):
        run.log_metric("m", 1, step=step)
    assert ml.get_run(run.run_id).metrics == {}


@pytest.mark.parametrize("step", [0, -5, 3.0, np.int32(4), 2**63 - 1])
def test_good_steps(step):
    assert values.step_value(step) == int(step)


def test_values_that_are_no_numbers_leave_nothing_half_written():
    with ml.start_run("half") as run, pytest.raises(InvalidInputError):
        run.log_metrics({"good": 1, "bad": "x"})
    assert ml.get_run(run.run_id).metrics == {}


@pytest.mark.parametrize("name", ["", "a//b", "../a", "a\n", "/a", "x" * 251, 5, None, "a?b", "."])
def test_bad_names(name):
    with ml.start_run("names") as run:
        for log in (run.log_metric, run.log_param, run.set_tag):
            with pytest.raises((InvalidNameError, InvalidInputError)):
                log(name, 1)
    found = ml.get_run(run.run_id)
    assert (found.params, found.metrics) == ({}, {})


def test_params_become_text():
    given_ = {"s": "é", "i": 1, "f": 0.1, "n": None, "l": [1, {"a": 2}], "t": (1, 2), "d": {1: "x"}, "long": "x" * 9000}
    given_ |= {"np": np.float64(0.5), "arr": [np.float32(0.5)]}
    with ml.start_run("params") as run:
        run.log_params(given_)
    assert ml.get_run(run.run_id).params == {
        "s": "é", "i": "1", "f": "0.1", "n": "None", "l": '[1,{"a":2}]', "t": "[1,2]", "d": '{"1":"x"}',
        "long": "x" * 6000, "np": "0.5", "arr": "[0.5]",
    }  # fmt: skip


def test_a_param_never_changes():
    with ml.start_run("conflict") as run:
        run.log_param("c", 1)
        run.log_param("c", "1")
        with pytest.raises(ParamConflictError, match="'c' is '1' already and cannot become '2'"):
            run.log_params({"new": 1, "c": 2})
    assert ml.get_run(run.run_id).params == {"c": "1"}


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_no_database_holds(text):
    with ml.start_run("text") as run:
        for log in (run.log_param, run.set_tag):
            with pytest.raises(InvalidInputError, match=r"NUL|Unicode"):
                log("k", text)


def test_many_at_once():
    with ml.start_run("many") as run:
        run.log_params({f"p{n}": n for n in range(2500)})
        run.log_metrics({f"m{n}": n for n in range(2500)})
        run.set_tags({f"t{n}": n for n in range(2500)})
        run.log_metrics({})
    found = ml.get_run(run.run_id)
    assert found.params == {f"p{n}": str(n) for n in range(2500)}
    assert found.metrics == {f"m{n}": float(n) for n in range(2500)}
    assert {f"t{n}": str(n) for n in range(2500)}.items() <= found.tags.items()


@pytest.mark.parametrize("value", [["a"], "text", 5, None])
def test_no_mapping(value):
    with ml.start_run("mappings") as run:
        for log in (run.log_params, run.log_metrics, run.set_tags):
            with pytest.raises(InvalidInputError, match="take a mapping"):
                log(value)


NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["1", "2"])
RECORDS = st.one_of(
    st.builds(lambda k, v, s: ("metric", {k: v}, s), NAMES, st.floats(), st.integers(-9, 9)),
    st.builds(lambda k, v: ("param", {k: v}), NAMES, TEXTS),
    st.builds(lambda k, v: ("tag", {k: v}), NAMES, TEXTS),
    st.just(("start",)),
    st.just(("end",)),
    st.just(("leave",)),
)
START = RunStart("e", "n", "u", 5, {"x": "y"})
END = RunEnd(RunStatus.FAILED, 9)


def encoded(one) -> bytes:
    kind, *content = one
    return {
        "metric": lambda: records.metrics_record(content[0], content[1], 7),
        "param": lambda: records.params_record(content[0]),
        "tag": lambda: records.tags_record(content[0]),
        "start": lambda: records.start_record(START),
        "end": lambda: records.end_record(END),
        "leave": records.leave_record,
    }[kind]()


def events(batches: list[RunBatch]) -> list[object]:
    """What a store does, in its order, one thing at a time."""
    found: list[object] = []
    for batch in batches:
        found += [batch.start] if batch.start else []
        found += [("param", *item) for item in batch.params.items()]
        found += [("metric", repr(metric)) for metric in batch.metrics]
        found += [batch.end] if batch.end else []
    return found


def wanted(all_of_them) -> list[object]:
    found: list[object] = []
    for kind, *content in all_of_them:
        if kind == "metric":
            found += [("metric", repr(Metric(k, v, 7, content[1]))) for k, v in content[0].items()]
        elif kind == "param":
            found += [("param", *item) for item in content[0].items()]
        elif kind in ("start", "end"):
            found.append(START if kind == "start" else END)
    return found


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(RECORDS, max_size=30))
def test_batches_keep_what_happened(all_of_them):
    """The order of starts, ends and contradicting params is kept; the rest commutes."""
    batches = records.batches("r", map(encoded, all_of_them))
    found, expected = events(batches), wanted(all_of_them)
    for kept in (lambda e: e in (START, END), lambda e: isinstance(e, tuple) and e[0] == "metric"):
        assert [e for e in found if kept(e)] == [e for e in expected if kept(e)]

    def first_values(happened):
        params: dict[str, str] = {}
        for event in happened:
            if isinstance(event, tuple) and event[0] == "param":
                params.setdefault(event[1], event[2])
        return params

    assert first_values(found) == first_values(expected)
    last = {}
    for batch in batches:
        last |= batch.tags
    assert last == {k: v for kind, *content in all_of_them if kind == "tag" for k, v in content[0].items()}
