"""A client that does not read its answers does not keep them in the server's memory for ever."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvicorn

from prefect_ml.http.listener import listening
from prefect_ml.http.patience import patient
from prefect_ml.http.refusal import respond

# More than the kernel takes off the server's hands.
ANSWER = b"x" * (32 << 20)


async def answer(scope, receive, send):
    await respond(send, 200, ANSWER, {})


async def come_to(done):
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110  uvicorn tells nobody
            await asyncio.sleep(0.01)


async def serve_one_who_does_not_read(listener, request):
    config = uvicorn.Config(answer, http=patient(0.2), lifespan="off", log_config=None, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve([listener]))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, listener.getsockname())
        await asyncio.get_running_loop().sock_sendall(client, request)
        await come_to(lambda: server.server_state.total_requests)
        [connection] = server.server_state.connections
        assert connection.transport.get_write_buffer_size() > 1 << 20
        await come_to(lambda: not server.server_state.connections)
        assert connection.transport.get_write_buffer_size() == 0
    server.should_exit = True
    await running


REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "request_",
    [REQUEST + b"\r\n", REQUEST + b"Connection: close\r\n\r\n", 2 * (REQUEST + b"\r\n")],
    ids=["kept", "closed", "pipelined"],
)
def test_an_answer_that_nobody_reads_is_dropped(request_):
    with listening("127.0.0.1", 0, guarded=False, setting="NONE") as listener:
        asyncio.run(serve_one_who_does_not_read(listener, request_))


async def read_slowly(listener):
    config = uvicorn.Config(answer, http=patient(0.2), lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve([listener]))
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        await loop.sock_sendall(client, REQUEST + b"Connection: close\r\n\r\n")
        size, began = 0, loop.time()
        while part := await loop.sock_recv(client, 1 << 14):
            size += len(part)
            if loop.time() - began < 4:
                await asyncio.sleep(0.05)
    server.should_exit = True
    await running
    return size


def test_an_answer_that_is_read_slowly_is_not_dropped():
    with listening("127.0.0.1", 0, guarded=False, setting="NONE") as listener:
        assert asyncio.run(read_slowly(listener)) > len(ANSWER)
