"""One process that logs single points for a time; run by `server.py`, several at once.

    python load.py '{"port": 4321, "run_id": "…", "seconds": 4, "count": 100000}'

It says "ready", waits for a line, and says how many points were acknowledged, and from when to when.
"""

from __future__ import annotations

import json
import sys
import time

from wire import Wire


def main() -> None:
    spec = json.loads(sys.argv[1])
    with Wire(spec["port"]) as wire:
        print("ready", flush=True)
        sys.stdin.readline()
        began, points = time.time(), 0
        while points < spec["count"] and time.time() < began + spec["seconds"]:
            point = {"key": "loss", "value": 0.5, "timestamp": points, "step": points}
            wire.post("/api/2.0/mlflow/runs/log-metric", {"run_id": spec["run_id"], **point})
            points += 1
    print(json.dumps({"points": points, "began": began, "ended": time.time()}))


if __name__ == "__main__":
    main()
