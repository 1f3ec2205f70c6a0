"""What a loop of work is slowed down by a log call in each turn while the store is away; run by `tracking.py`.

    python slowdown.py 15 10

Fifteen seconds of turns that take 10 ms each. All times are those of the processor: what the loop's thread spends in
the calls, and what all threads in the background take, as if the loop had waited for them. So other load on the
machine hardly changes the result.
"""

from __future__ import annotations

import json
import logging
import sys
import time

import prefect_ml as ml

# What the recording of the machine's own metrics loads once.
SETTLED_SECONDS = 3.0


def work(rounds: int) -> float:
    total = 0.0
    for n in range(rounds):
        total += n * 0.5
    return total


def rounds_of(seconds: float) -> int:
    """How many rounds of work take so long here."""
    start = time.thread_time()
    work(200_000)
    return max(1, round(200_000 * seconds / (time.thread_time() - start)))


def main() -> None:
    logging.disable(logging.WARNING)
    seconds, turn = float(sys.argv[1]), float(sys.argv[2]) / 1000
    rounds, calls = rounds_of(turn), 0.0
    with ml.start_run("benchmark") as run:
        run.flush(5, patient=False)  # the libraries of the store are loaded once
        time.sleep(SETTLED_SECONDS)
        whole, mine = time.process_time(), time.thread_time()
        for number in range(round(seconds / turn)):
            value = work(rounds)
            start = time.thread_time()
            run.log_metric("loss", value, number)
            calls += time.thread_time() - start
        whole, mine = time.process_time() - whole, time.thread_time() - mine
    training = mine - calls
    found = {"calls": calls / training * 100, "background": (whole - mine) / training * 100}
    print(json.dumps(found | {"percent": sum(found.values())}))


if __name__ == "__main__":
    main()
