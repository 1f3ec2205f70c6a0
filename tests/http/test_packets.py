"""What is written in one turn of the event loop leaves together, in order, and all of it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from prefect_ml.http.packets import GatheringTransport


@pytest.fixture
def ends():
    mine, theirs = socket.socketpair()
    mine.setblocking(False)
    theirs.settimeout(10)
    yield mine, theirs
    theirs.close()


async def gathering(mine):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
    return GatheringTransport(transport, loop)


def received(theirs):
    parts = []
    while part := theirs.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def test_small_writes_are_sent_as_one(ends):
    mine, theirs = ends

    async def write():
        transport = await gathering(mine)
        for part in (b"head", b" ", b"body"):
            transport.write(part)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
        await asyncio.sleep(0)
        first = theirs.recv(100)
        transport.write(b" and more")
        transport.close()
        await asyncio.sleep(0)
        return first

    assert asyncio.run(write()) == b"head body"
    theirs.settimeout(10)
    assert received(theirs) == b" and more"


def test_a_large_write_is_not_held_back_and_order_is_kept(ends):
    mine, theirs = ends
    large = bytes(range(256)) * 256

    async def write():
        transport = await gathering(mine)
        transport.write(b"head")
        transport.write(large)
        theirs.setblocking(False)
        begun = theirs.recv(4)
        transport.write(b"tail")
        theirs.settimeout(10)
        rest = asyncio.to_thread(received, theirs)
        transport.close()
        return begun + await rest

    assert asyncio.run(write()) == b"head" + large + b"tail"


def test_nothing_is_written_to_a_connection_that_is_gone(ends):
    mine, theirs = ends

    async def write():
        transport = await gathering(mine)
        transport.write(b"lost")
        transport.abort()
        await asyncio.sleep(0.01)
        return transport.is_closing()

    assert asyncio.run(write())
    assert received(theirs) == b""
