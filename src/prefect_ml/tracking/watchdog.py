"""What the small process does; started by its path with nothing but the standard library, so it imports nothing else.

It reads, line by line as JSON, which attempts a process executes, how their code ended, and which need nothing more.
When the pipe ends, because that process is dead, it has the rest ended and delivered by the module that each attempt
names; an attempt that nobody in that process executes any more, at once.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import IO, cast


def watch() -> None:
    """Wait for the end of the pipe on standard input, then do what is left."""
    entries: dict[str, dict[str, str]] = {}
    mourning: list[subprocess.Popen[bytes]] = []
    for line in sys.stdin.buffer:
        told = json.loads(line)
        known = entries.pop(told["attempt_id"], {})
        if "left" in told and known:
            mourning = [each for each in mourning if each.poll() is None]
            mourning.append(_mourn(known["module"], [known | told], int(known["code_ended_at"])))
        elif "run_id" in told or ("code" in told and known):
            entries[told["attempt_id"]] = known | told
    died_at = time.time_ns() // 1_000_000
    for module in sorted({entry["module"] for entry in entries.values()}):
        mine = [entry for entry in entries.values() if entry["module"] == module]
        mourning.append(_mourn(module, mine, died_at))
    for each in mourning:
        each.wait()


def _mourn(module: str, entries: list[dict[str, str]], died_at: int) -> subprocess.Popen[bytes]:
    # -P: a module of the working directory must not stand in for one of ours.
    process = subprocess.Popen([sys.executable, "-P", "-m", module], stdin=subprocess.PIPE)  # noqa: S603 - our own words
    with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as told:
        told.write(json.dumps({"died_at": died_at, "entries": entries}).encode())
    return process


if __name__ == "__main__":
    watch()
