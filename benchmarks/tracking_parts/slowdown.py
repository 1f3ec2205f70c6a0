"""What a loop of work is slowed down by a log call in each turn while the store is away; run by `tracking.py`.

    python slowdown.py 300

Blocks of turns with and without the call alternate, and their times are those of the processor: what the loop itself
takes more, and on top of it all that the threads in the background took, as if the loop had waited for all of it. So
other load on the machine hardly changes the result.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from typing import TYPE_CHECKING

import prefect_ml as ml

if TYPE_CHECKING:
    from prefect_ml.tracking.run import ActiveRun

TURNS = 50
TURN_SECONDS = 0.001


def work(rounds: int) -> float:
    total = 0.0
    for n in range(rounds):
        total += n * 0.5
    return total


def rounds_of_a_turn() -> int:
    """How many rounds of work take a millisecond here."""
    start = time.thread_time()
    work(200_000)
    return max(1, round(200_000 * TURN_SECONDS / (time.thread_time() - start)))


def block(rounds: int, run: ActiveRun | None, first: int) -> float:
    start = time.thread_time()
    for turn in range(TURNS):
        value = work(rounds)
        if run is not None:
            run.log_metric("loss", value, first + turn)
    return time.thread_time() - start


def main() -> None:
    logging.disable(logging.WARNING)
    blocks = int(sys.argv[1])
    rounds = rounds_of_a_turn()
    ratios = []
    with ml.start_run("benchmark") as run:
        run.flush(5, patient=False)  # the libraries of the store are loaded once
        whole, mine = time.process_time(), time.thread_time()
        for number in range(blocks):
            pair = [(None, 0), (run, number * TURNS)]
            order = pair if number % 2 else pair[::-1]
            times = {logged is not None: block(rounds, logged, first) for logged, first in order}
            ratios.append(times[True] / times[False])
        whole, mine = time.process_time() - whole, time.thread_time() - mine
    low, middle, high = statistics.quantiles(ratios, n=4)
    found = {"calls": (middle - 1) * 100, "background": (whole - mine) / mine * 100}
    # The standard error of a median, from the quartiles.
    error = 1.25 * (high - low) / 1.35 / len(ratios) ** 0.5 * 100
    print(json.dumps(found | {"percent": sum(found.values()), "error": error}))


if __name__ == "__main__":
    main()
