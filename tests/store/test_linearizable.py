"""Fifty processes on one alias: what they were answered is a history that could have happened one call at a time.

First the checker itself: it agrees with trying every order, on histories small enough for that.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.entities import RequestStatus
from prefect_ml.store import open_store

sys.path.append(str(Path(__file__).parent))
from linearizable import Call, NotLinearizableError, State, check

PROCESSES = 50
SECONDS = 2.5
SCRIPT = Path(__file__).with_name("moving_and_reading.py")


# --- the checker


def carried_out(state, call):
    """The state after a call, and what it is answered; None for a refusal."""
    moved = State(state.generation + 1, call.wanted, call.id)
    if call.kind == "read" or (call.kind == "set" and state.version == call.wanted):
        return state, state
    if call.kind == "promote" and state.generation != call.base:
        return state, None
    return moved, moved


def in_some_order(calls):
    """Whether one of all orders that the clock allows explains the answers."""
    return any(map(_explains, itertools.permutations(calls)))


def _explains(order):
    if any(later.ended < earlier.began for earlier, later in itertools.combinations(order, 2)):
        return False
    state = State()
    for call in order:
        if call.kind == "promote" and call.base > state.generation:
            return False  # nobody knows a generation that is still to come
        state, answer = carried_out(state, call)
        if answer != call.saw:
            return False
    return True


@st.composite
def histories(draw, most=5, width=3):
    """A history that happened: calls one after the other, each stretched around its moment."""
    state, calls = State(), []
    kinds = draw(st.lists(st.sampled_from(["read", "set", "promote"]), min_size=1, max_size=most))
    for moment, kind in enumerate(kinds):
        before, after = draw(st.integers(0, width)), draw(st.integers(0, width))
        base = draw(st.integers(0, state.generation)) if kind == "promote" else 0
        wanted = 0 if kind == "read" else draw(st.integers(1, 2))
        call = Call(str(moment), kind, moment - before, moment + after, None, wanted, base)
        state, answer = carried_out(state, call)
        calls.append(call._replace(saw=answer))
    return draw(st.permutations(calls))


@st.composite
def tampered(draw):
    """A history of which one call was changed, perhaps so that it still could have happened."""
    calls = list(draw(histories()))
    at = draw(st.integers(0, len(calls) - 1))
    call = calls[at]
    states = [other.saw for other in calls if other.saw is not None]
    seen = st.sampled_from([*states, State(), State(9, 1, "nobody"), *([None] if call.kind == "promote" else [])])
    began = draw(st.integers(-3, 8))
    change = draw(
        st.one_of(
            seen.map(lambda saw: call._replace(saw=saw)),
            st.integers(0, 5).map(lambda time: call._replace(began=began, ended=began + time)),
            st.integers(1, 2).map(lambda wanted: call._replace(wanted=wanted)),
            st.integers(0, 3).map(lambda base: call._replace(base=base)),
        )
    )
    calls[at] = change
    return calls


def accepted(calls):
    try:
        check(calls)
    except NotLinearizableError:
        return False
    return True


@given(histories(most=40, width=30))
@settings(max_examples=50, deadline=None)
def test_what_happened_is_accepted_with_the_states_in_their_order(calls):
    states = check(calls)
    assert [state.generation for state in states] == list(range(len(states)))
    movers = {call.saw for call in calls if call.saw is not None and call.saw.mover == call.id}
    assert set(states) == {State(), *movers}


@given(tampered())
@settings(max_examples=200, deadline=None)
def test_the_checker_agrees_with_trying_every_order(calls):
    assert accepted(calls) is in_some_order(calls)


# One move to version 1, seen by a read after it: what each of these changes makes of it cannot have happened.
MOVE = Call("a", "set", 10, 20, State(1, 1, "a"), wanted=1)
READ = Call("b", "read", 30, 40, State(1, 1, "a"))


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([MOVE, READ._replace(saw=State())], "had ended before what it answers was so"),
        ([MOVE, READ._replace(began=1, ended=9)], "had ended before what it answers was so"),
        ([MOVE, READ._replace(saw=State(1, 2, "a"))], "saw another state"),
        ([READ], "was made by 0 calls"),
        ([MOVE, Call("c", "set", 10, 20, State(3, 2, "c"), wanted=2)], "generation 2 was made by 0 calls"),
        ([MOVE, Call("c", "set", 10, 20, State(1, 2, "c"), wanted=2)], "was made by 2 calls"),
        ([MOVE, Call("c", "set", 10, 20, State(1, 1, "c"), wanted=1)], "was made by 2 calls"),
        ([MOVE, Call("c", "promote", 30, 40, State(2, 2, "c"), wanted=2, base=0)], "not what it was based on"),
        ([MOVE, Call("c", "promote", 1, 9, None, wanted=2, base=0)], "had ended before what it answers was so"),
        ([MOVE, Call("c", "promote", 30, 40, None, wanted=2, base=1)], "nobody ever moved the alias"),
        ([MOVE, Call("c", "set", 30, 40, State(2, 1, "c"), wanted=1)], "where it was already"),
        ([MOVE, Call("c", "set", 30, 40, State(1, 1, "a"), wanted=2)], "without having moved"),
    ],
)
def test_what_cannot_have_happened_is_refused_with_the_reason(calls, why):
    check([MOVE, READ])
    assert not in_some_order(calls)
    with pytest.raises(NotLinearizableError, match=why):
        check(calls)


# --- the store


@pytest.fixture
def answered(empty_url, tmp_path):
    """What the processes were answered; and the store afterwards."""
    folder = tmp_path / "answers"
    folder.mkdir()
    command = [sys.executable, SCRIPT, empty_url, str(PROCESSES), str(SECONDS), folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    files = list(folder.glob("*.json"))
    assert len(files) == PROCESSES
    store = open_store(empty_url)
    yield [call for file in files for call in json.loads(file.read_text())], store
    store.close()


def test_fifty_processes_see_one_history(answered):
    told, store = answered
    for alias in ("open", "guarded"):
        history = [State(move.generation, move.version, move.moved_by) for move in store.alias_history("churn", alias)]
        states = check(calls_on(alias, told, [State(), *history]))
        assert states == [State(), *history]
        assert len(history) > 1
    requests = store.list_requests(name="churn", max_results=10_000)
    statuses = Counter(request.status for request in requests)
    assert len(requests) == sum(each["kind"] == "request" for each in told)
    assert statuses[RequestStatus.PROMOTED] == len(history)
    assert set(statuses) == {RequestStatus.PROMOTED, RequestStatus.SUPERSEDED}
    # Who lost was told so, with a type to catch and with what happened instead.
    lost = [each["refusal"] for each in told if each["refusal"]]
    assert len(lost) == statuses[RequestStatus.SUPERSEDED]
    assert {name for name, _ in lost} <= {"StaleRequestError", "PromotionError"}
    assert all("SUPERSEDED" in text and "guarded" in text and "was moved to version" in text for _, text in lost)
    assert store.verify_audit() > len(told) / 10


def calls_on(alias, told, history):
    """What the processes wrote down about an alias, as the checker knows it."""
    for each in told:
        kind, answer = each["kind"], each["answer"]
        if each["alias"] != alias or (kind == "approve" and answer is not None):
            continue  # an approval says nothing of where the alias is
        facts = {key: each[key] for key in ("id", "began", "ended")}
        if kind == "request":  # it answers where the alias is, though not who moved it there
            generation, version = answer["base_generation"], answer["base_version"] or 0
            yield Call(**facts, kind="read", saw=State(generation, version, history[generation].mover))
        elif answer is None and kind == "read":
            yield Call(**facts, kind="read", saw=State())
        elif answer is None:
            yield Call(**facts, kind="promote", saw=None, wanted=each["wanted"], base=each["base"])
        else:
            saw = State(answer["generation"], answer["version"], answer["moved_by"])
            yield Call(**facts, kind=kind, saw=saw, wanted=each.get("wanted", 0), base=each.get("base", 0))
