"""A Ray of this machine's own that serves models: started as a process, told to end by the end of its input."""

from __future__ import annotations

import sys

import ray
from ray import serve

from prefect_ml.deploying.ray_serve import deployment

if __name__ == "__main__":
    port, prefix, *models = sys.argv[1:]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=True)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
        serve.run(
            deployment(*models, replicas=2, ray_actor_options={"num_cpus": 0.1}), name="models", route_prefix=prefix
        )
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        serve.shutdown()
        ray.shutdown()
