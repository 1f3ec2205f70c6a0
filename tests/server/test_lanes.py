"""The threads that work on requests: bounded, apart from each other, and none keeps a process."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time

import pytest

from prefect_ml.http.lanes import Lane, Lanes
from prefect_ml.http.refusal import RefusedError


def threads_of(name):
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"prefect-ml-{name}-")]


def test_a_lane_returns_and_raises_what_its_calls_do():
    lane = Lane("answers", 2, 0)

    async def ask():
        assert await lane.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await lane.run(divmod, 1, 0)
        assert lane.pending == 0

    asyncio.run(ask())
    lane.close()


def test_one_more_than_may_wait_is_refused_and_the_others_are_answered():
    lane, go = Lane("bounded", 2, 3), threading.Event()

    async def ask():
        asked = [asyncio.create_task(lane.run(go.wait, 10)) for _ in range(5)]
        await asyncio.sleep(0.05)
        with pytest.raises(RefusedError, match="5 requests of this kind are in hand") as refused:
            await lane.run(go.wait, 10)
        go.set()
        assert await asyncio.gather(*asked) == [True] * 5
        assert await lane.run(go.wait, 10)
        return refused.value

    refused = asyncio.run(ask())
    assert (refused.status, refused.headers) == (503, {"Retry-After": "1"})
    assert len(threads_of("bounded")) == 2
    lane.close()


def test_threads_are_started_when_they_are_needed_and_end_with_their_lane():
    lane = Lane("needed", 8, 8)
    assert threads_of("needed") == []

    async def ask(asked, times):
        await asyncio.gather(*(asked.run(time.sleep, 0.05) for _ in range(times)))

    asyncio.run(ask(lane, 1))
    assert len(threads_of("needed")) == 1
    asyncio.run(ask(lane, 3))
    assert len(threads_of("needed")) == 3
    del lane
    gc.collect()
    deadline = time.monotonic() + 10
    while threads_of("needed"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_call_that_nobody_waits_for_any_more_is_not_made():
    lane, go, made = Lane("cancelled", 1, 1), threading.Event(), []

    async def ask():
        first = asyncio.create_task(lane.run(go.wait, 10))
        second = asyncio.create_task(lane.run(made.append, 2))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.wait([second])
        go.set()
        await first
        await lane.run(made.append, 3)

    asyncio.run(ask())
    assert made == [3]
    lane.close()


def test_slow_searches_leave_the_other_lane_free():
    lanes, go = Lanes.of(4, 10), threading.Event()

    async def ask():
        searches = [asyncio.create_task(lanes.searches.run(go.wait, 10)) for _ in range(8)]
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(lanes.quick.run(int, "7"), 5) == 7
        assert not any(search.done() for search in searches)
        go.set()
        await asyncio.gather(*searches)

    asyncio.run(ask())
    assert len(threads_of("search")) == 1
    lanes.close()


def test_a_call_that_never_ends_keeps_no_process():
    program = (
        "import asyncio, time\n"
        "from prefect_ml.http.lanes import Lane\n"
        "async def ask():\n"
        "    asyncio.create_task(Lane('stuck', 1, 0).run(time.sleep, 3600))\n"
        "    await asyncio.sleep(0.05)\n"
        "asyncio.run(ask())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
