"""Bodies of requests: however they are cut they are read whole, or refused within bounds of size, memory and time."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_ml.http.bodies import Bodies, GoneError
from prefect_ml.http.gzipped import accepts_gzip
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


def packed(bodies: Bodies, content: bytes, coding: bytes = b"gzip") -> bytes:
    return asyncio.run(bodies.read({}, {b"content-encoding": coding}, messages(content)))


@given(st.binary(max_size=200).map(lambda part: part * 900), st.integers(1, 3))
@example(b"a" * MOST, 1)
@example(b"a" * (MOST + 1), 1)
def test_a_body_that_is_packed_is_what_it_was_before_within_the_same_bound(content, members):
    bodies = reader()
    size = -(-len(content) // members) or 1
    pieces = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
    sent = b"".join(map(gzip.compress, pieces))
    if len(content) > MOST:
        with pytest.raises(RefusedError, match="more than 200,000 bytes") as refused:
            packed(bodies, sent)
        assert refused.value.status == 413
    else:
        found = packed(bodies, sent, b" X-GZIP")
        assert found == content
        bodies.release(found)
    assert bodies._held == 0


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


def test_a_bomb_is_refused_before_it_takes_memory():
    bodies, sent = Bodies(1 << 20, 5.0, "PREFECT_ML_SERVER_MAX_BODY"), bomb(100 << 20)
    assert len(sent) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError) as refused:
            packed(bodies, sent)
        assert refused.value.status == 413
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert bodies._held == 0


def test_what_is_packed_counts_as_large_as_it_may_become():
    bodies = reader()
    sent = gzip.compress(bytes(MOST))
    assert len(sent) < 1000
    held = [packed(bodies, sent) for _ in range(8)]
    with pytest.raises(RefusedError) as refused:
        packed(bodies, sent)
    assert refused.value.status == 503
    for body in held:
        bodies.release(body)
    assert bodies._held == 0


@pytest.mark.parametrize(
    ("sent", "coding", "status", "words"),
    [
        (b"{}", b"gzip", 400, "is not packed by it"),
        (b"", b"gzip", 400, "ends too early"),
        (gzip.compress(b"a" * 999)[:-9], b"gzip", 400, "ends too early"),
        (gzip.compress(bytes(MOST))[:-5], b"gzip", 400, "ends too early"),
        (gzip.compress(b"a")[:-8] + bytes(8), b"gzip", 400, "is not packed by it"),
        (gzip.compress(b"a") + b"b" * 20, b"gzip", 400, "is not packed by it"),
        (gzip.compress(b"") * 65, b"gzip", 400, "more than 64 files"),
        (b"{}", b"br", 415, "'br'"),
        (gzip.compress(gzip.compress(b"{}")), b"gzip, gzip", 415, "'gzip, gzip'"),
    ],
    ids=["as it is", "empty", "cut off", "cut in its sum", "wrong sum", "more behind", "files", "brotli", "twice"],
)
def test_what_is_packed_badly_or_otherwise_is_refused(sent, coding, status, words):
    bodies = reader()
    with pytest.raises(RefusedError, match=words) as refused:
        packed(bodies, sent, coding)
    assert refused.value.status == status
    assert bodies._held == 0


def test_a_body_that_says_that_it_is_not_packed_is_taken_as_it_is():
    assert packed(reader(), b"{}", b"identity") == b"{}"


@pytest.mark.parametrize(
    ("accept", "asks"),
    [
        (b"gzip", True),
        (b"gzip, deflate, br", True),
        (b"br;q=1, GZIP; q=0.5", True),
        (b"x-gzip", True),
        (b"", False),
        (b"*", False),
        (b"deflate", False),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
    ],
)
def test_who_asks_for_a_packed_answer(accept, asks):
    assert accepts_gzip(accept) is asks
