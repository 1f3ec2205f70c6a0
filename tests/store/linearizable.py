"""Whether what many processes were answered about one alias could have happened one answer after the other.

The alias is a register of (generation, version, mover). Every move makes the next generation and names its mover, so
the order of the moves is in the answers, and what is left to look for is a moment for each answer: within the time that
its call took, after the move that it saw and before the next. Taking the earliest moment that is left finds one
whenever there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class State(NamedTuple):
    """Where an alias is; the generation 0 is the alias that was never set."""

    generation: int = 0
    version: int = 0
    mover: str = ""


class Call(NamedTuple):
    """One call, and its answer.

    Attributes:
        id: its own; the mover of what it moved.
        kind: "read" answers the state. "set" moves to `wanted` unless the alias is there already, and answers the state
            then. "promote" moves to `wanted` while the generation is `base`, and answers the state then; once the alias
            has moved on, it is refused.
        began: nanoseconds of a clock that all processes share.
        ended: when the answer was there.
        saw: the state that was answered; None for a refusal.
    """

    id: str
    kind: Literal["read", "set", "promote"]
    began: int
    ended: int
    saw: State | None
    wanted: int = 0
    base: int = 0


class NotLinearizableError(AssertionError):
    """No order of the calls explains the answers; the message names the first one that fits nowhere."""


def check(calls: Iterable[Call]) -> list[State]:
    """The states that the alias went through, from the one before the first move.

    Raises:
        NotLinearizableError: the answers fit no order.
    """
    seeing: dict[int, list[Call]] = {0: []}
    refused: list[Call] = []
    for call in calls:
        if call.saw is None:
            refused.append(call)
        else:
            seeing.setdefault(call.saw.generation, []).append(call)
    start = min((call.began for each in seeing.values() for call in each), default=0)
    states = [State()]
    reached = [start]  # the earliest moment of each generation
    now = _all_before_the_next(seeing[0], State(), start)
    for generation in range(1, max(seeing) + 1):
        mover = _mover(seeing.get(generation, []), generation, states[-1])
        now = _moment(mover, now)
        states.append(mover.saw or State())
        reached.append(now)
        now = _all_before_the_next(seeing[generation], states[-1], now)
    for call in refused:
        if call.base + 1 >= len(reached):
            raise NotLinearizableError(f"{call} was refused, and nobody ever moved the alias from its generation")
        _moment(call, reached[call.base + 1])
    return states


def _mover(calls: Sequence[Call], generation: int, before: State) -> Call:
    """The call that made a generation, which there is once."""
    made = [call for call in calls if call.saw is not None and call.saw.mover == call.id and call.kind != "read"]
    if len(made) != 1:
        raise NotLinearizableError(f"generation {generation} was made by {len(made)} calls: {made}")
    [call] = made
    if call.saw != State(generation, call.wanted, call.id):
        raise NotLinearizableError(f"{call} moved the alias elsewhere than it wanted")
    if call.kind == "promote" and call.base != before.generation:
        raise NotLinearizableError(f"{call} moved the alias away from {before}, which is not what it was based on")
    if call.kind == "set" and before.version == call.wanted:
        raise NotLinearizableError(f"{call} moved the alias to where it was already")
    return call


def _all_before_the_next(calls: Sequence[Call], state: State, reached: int) -> int:
    """The earliest moment after all calls that saw a state, which was reached at a moment."""
    last = reached
    for call in calls:
        if call.saw != state:
            raise NotLinearizableError(f"{call} saw another state of its generation than {state}")
        if state.mover != call.id:
            if call.kind == "promote" or (call.kind == "set" and call.wanted != state.version):
                raise NotLinearizableError(f"{call} was answered without having moved the alias")
            last = max(last, _moment(call, reached))
    return last


def _moment(call: Call, not_before: int) -> int:
    """The earliest moment of a call's own that is not before another."""
    if call.ended < not_before:
        raise NotLinearizableError(f"{call} had ended before what it answers was so")
    return max(call.began, not_before)
