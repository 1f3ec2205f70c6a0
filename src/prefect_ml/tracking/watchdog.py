"""What the small process does; started by its path with nothing but the standard library, so it imports nothing else.

It reads, line by line as JSON, which attempts a process executes and which need nothing more. When the pipe ends,
because that process is dead, it has the rest ended and delivered by the module that each attempt names.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time


def watch() -> None:
    """Wait for the end of the pipe on standard input, then do what is left."""
    entries: dict[str, dict[str, str]] = {}
    for line in sys.stdin.buffer:
        entry = json.loads(line)
        if "run_id" in entry:
            entries[entry["attempt_id"]] = entry
        else:
            entries.pop(entry["attempt_id"], None)
    died_at = time.time_ns() // 1_000_000
    for module in sorted({entry["module"] for entry in entries.values()}):
        mine = [entry for entry in entries.values() if entry["module"] == module]
        # -P: a module of the working directory must not stand in for one of ours.
        command = [sys.executable, "-P", "-m", module]
        told = json.dumps({"died_at": died_at, "entries": mine})
        subprocess.run(command, input=told.encode(), check=False)  # noqa: S603 - our own words


if __name__ == "__main__":
    watch()
