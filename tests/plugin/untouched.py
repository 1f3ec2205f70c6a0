"""Flows whose author never heard of prefect-ml; the test of the plugin runs this file as it is."""

import asyncio
import os
import signal
import time

from prefect import Flow, flow, tags, task
from prefect.task_runners import ProcessPoolTaskRunner


@task
def square(x: int) -> int:
    return x * x


@flow
def decorated(x: int = 3, name: str = "a") -> dict:
    return {"squared": square(x), "note": name}


def plain(x: int) -> int:
    return x + 1


made = Flow(plain, name="made")


@flow
async def asynchronous(x: int) -> dict:
    await asyncio.sleep(0)
    return {"x": x}


@flow
def generating(n: int):
    yield from range(n)


@flow
async def generating_async(n: int):
    for i in range(n):
        yield i


@flow
def failing():
    raise ValueError("as it must")


@flow
def child(x: int) -> int:
    return x


@flow
def parent() -> int:
    return child(1) + child(2)


@task
def run_child(x: int) -> int:
    return child.with_options(name="child-in-a-process")(x)


@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def spread() -> int:
    return run_child.submit(7).result()


@flow(name="etl-orders")
def etl() -> int:
    return 1


class Trainer:
    @flow
    def fit(self, rate: float) -> float:
        return rate

    @staticmethod
    @flow
    def static(x: int) -> int:
        return x


async def consume(n: int) -> list[int]:
    return [i async for i in generating_async(n)]


@flow
def killed():
    time.sleep(3)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    decorated("4")
    made(1)
    made.with_options(name="copied")(2)
    asyncio.run(asynchronous(5))
    list(generating(2))
    asyncio.run(consume(2))
    failing(return_state=True)
    parent()
    spread()
    etl()
    Trainer().fit(0.5)
    Trainer.static(2)
    with tags("prefect-ml:off"):
        decorated.with_options(name="tagged-off")()
