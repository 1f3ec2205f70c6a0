"""Bodies of requests: however they are cut they are read whole, or refused within bounds of size, memory and time."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.http.bodies import Bodies, GoneError
from prefect_ml.http.refusal import RefusedError

MOST = 200_000


def reader(seconds: float = 5.0) -> Bodies:
    return Bodies(MOST, seconds, "PREFECT_ML_SERVER_MAX_BODY")


def messages(*parts: bytes, end: str = "http.request", pause: float = 0.0):
    """What a server hears of a body that comes in these parts."""
    left = list(parts)

    async def receive():
        await asyncio.sleep(pause)
        if left:
            part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(left) or end != "http.request"}
        if end == "http.disconnect":
            return {"type": end}
        return await asyncio.Event().wait()

    return receive


def read(bodies: Bodies, receive, length: int | None = None) -> bytes:
    headers = {} if length is None else {b"content-length": b"%d" % length}
    return asyncio.run(bodies.read({}, headers, receive))


@given(st.lists(st.binary(max_size=200).map(lambda part: part * 300), min_size=1, max_size=8))
def test_a_body_is_what_its_parts_are_and_leaves_no_memory_counted(parts):
    bodies, whole = reader(), b"".join(parts)
    if len(whole) > MOST:
        with pytest.raises(RefusedError) as refused:
            read(bodies, messages(*parts))
        assert refused.value.status == 413
    else:
        found = read(bodies, messages(*parts))
        assert found == whole
        bodies.release(found)
    assert bodies._held == 0


@pytest.mark.parametrize("length", [MOST + 1, 10**18, 10**40])
def test_a_body_that_says_that_it_is_too_long_is_refused_without_keeping_any_of_it(length):
    bodies = reader()
    with pytest.raises(RefusedError, match="more than 200,000 bytes") as refused:
        read(bodies, messages(b"x" * 1000, b"y"), length)
    assert (refused.value.status, refused.value.headers) == (413, {"Connection": "close"})
    assert bodies._held == 0


def test_a_body_that_never_ends_is_refused():
    async def receive():
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    with pytest.raises(RefusedError) as refused:
        read(reader(), receive)
    assert refused.value.status == 413


def test_a_body_without_progress_is_given_up():
    start = time.monotonic()
    with pytest.raises(RefusedError, match=r"no progress for 0\.2 s") as refused:
        read(reader(0.2), messages(b"x", b"y", end="never"))
    assert refused.value.status == 408
    assert time.monotonic() - start < 5


def test_a_body_with_progress_may_take_longer_but_not_for_ever():
    assert read(reader(0.3), messages(*[b"x"] * 6, pause=0.1)) == b"x" * 6
    with pytest.raises(RefusedError) as refused:
        read(reader(0.05), messages(*[b"x"] * 1000, pause=0.02))
    assert refused.value.status == 408


def test_a_client_that_is_gone_is_told_from_one_that_is_done():
    with pytest.raises(GoneError):
        read(reader(), messages(b"x" * 70_000, end="http.disconnect"))


def test_large_bodies_together_have_a_bound():
    async def ask():
        bodies = reader()
        kept = [await bodies.read({}, {}, messages(b"x" * MOST)) for _ in range(8)]
        with pytest.raises(RefusedError, match="as many large requests in memory as it may") as refused:
            await bodies.read({}, {}, messages(b"x" * 100_000, b"y"))
        assert refused.value.status == 503
        assert await bodies.read({}, {}, messages(b"small")) == b"small"
        bodies.release(kept.pop())
        assert await bodies.read({}, {}, messages(b"x" * 100_000, b"y"))

    asyncio.run(ask())
