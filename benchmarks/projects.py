"""Starting a project beside `mlflow run`, cold and warm, until the entry point's first line; one run, ratios.

    uv run python benchmarks/projects.py [warm starts]

Both run the same MLproject with the same python_env.yaml: a folder, one small requirement, the Python that runs this.
Cold: no environment and, for ours, no lock is there; both may take wheels from their caches of downloads, which are
filled before. The time is from the start of the command until the entry point's own first statement, told by a file;
of the warm starts also until the command's end, and the CPU seconds of all its processes, which a busy machine changes
less. A flow run is measured with an API of its own, as Prefect starts one where none is configured, and with one that
runs. MLflow's virtualenv manager needs `virtualenv` on the PATH (pip install virtualenv), and the Python from pyenv.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

BIN = Path(sys.executable).parent
PROJECT = """
name: bench
python_env: python_env.yaml
entry_points:
  main:
    parameters: {{stamp: string}}
    command: "python main.py {stamp}"
"""
MAIN = "import time; now = time.time()\nimport sys\nopen(sys.argv[1], 'w').write(repr(now))\n"


def write_project(folder: Path) -> None:
    (folder / "MLproject").write_text(PROJECT.replace("{{", "{").replace("}}", "}"))
    python = ".".join(map(str, sys.version_info[:3]))
    (folder / "python_env.yaml").write_text(f"python: '{python}'\ndependencies: [six==1.17.0]\n")
    (folder / "main.py").write_text(MAIN)


class Took(NamedTuple):
    """Seconds of one command: until the first line, until its end, and of the CPU."""

    start: float
    whole: float
    cpu: float


def run_once(command: list[str], environment: dict[str, str], folder: Path) -> Took:
    stamp = folder / "stamp"
    stamp.unlink(missing_ok=True)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )
    whole, after = time.time() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(float(stamp.read_text()) - begun, whole, cpu)


def measure(
    name: str,
    command: list[str],
    environment: dict[str, str],
    *,
    folder: Path,
    count: int,
    forget: Callable[[], None] | None = None,
) -> tuple[float, float]:
    """Seconds until the first line: the best of two cold starts (0 without `forget`), and the median of the warm."""
    run_once(command, environment, folder)  # fills the caches of downloads and compiled modules
    cold = []
    if forget is not None:
        for _ in range(2):
            forget()
            cold.append(run_once(command, environment, folder).start)
    warm = [run_once(command, environment, folder) for _ in range(count)]
    start, whole, cpu = (statistics.median(each) for each in zip(*warm, strict=True))
    print(
        f"{name:34} cold {f'{min(cold):7.2f} s' if cold else '        -'}   warm {start:6.2f} s "
        f"(best {min(warm).start:.2f})   until its end {whole:6.2f} s   CPU {cpu:5.2f} s"
    )
    return min(cold, default=0.0), start


@contextlib.contextmanager
def prefect_server(environment: dict[str, str]) -> Iterator[str]:
    """The URL of a Prefect API that runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, until = f"http://127.0.0.1:{port}/api", time.monotonic() + 120
    try:
        while time.monotonic() < until and server.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{url}/health").raise_for_status()
                break
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


def main(count: int = 5) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="bench-projects-"))
    project = scratch / "project"
    project.mkdir()
    write_project(project)
    stamp = f"stamp={project / 'stamp'}"
    base = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    ours = {
        **base,
        "PREFECT_ML_HOME": str(scratch / "ours"),
        "PREFECT_HOME": str(scratch / "prefect"),
        # On a busy machine an API takes longer to start than the 20 s that are waited for.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    theirs = {
        **base,
        "MLFLOW_TRACKING_URI": f"sqlite:///{scratch / 'mlflow.db'}",
        "MLFLOW_ENV_ROOT": str(scratch / "mlflow-envs"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }

    def forget_ours() -> None:
        shutil.rmtree(scratch / "ours" / "cache", ignore_errors=True)

    def forget_theirs() -> None:
        shutil.rmtree(scratch / "mlflow-envs", ignore_errors=True)

    run = [str(BIN / "prefect-ml"), "run", str(project), "-P", stamp]
    try:
        mine = measure("prefect-ml run", run, ours, folder=project, forget=forget_ours, count=count)
        flow = measure("prefect-ml run --flow (own API)", [*run, "--flow"], ours, folder=project, count=count)
        with prefect_server(ours) as url:
            there = {**ours, "PREFECT_API_URL": url}
            known = measure("prefect-ml run --flow (API runs)", [*run, "--flow"], there, folder=project, count=count)
        mlflow = [str(BIN / "mlflow"), "run", "--env-manager", "virtualenv", "-P", stamp, str(project)]
        other = measure("mlflow run (virtualenv)", mlflow, theirs, folder=project, forget=forget_theirs, count=count)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"cold: {other[0] / mine[0]:.1f} times (wanted: 5)   warm: {other[1] / mine[1]:.1f} times (wanted: 10)")
    print(
        f"through a Prefect flow: {known[1] - mine[1]:+.2f} s warm, {flow[1] - mine[1]:+.2f} s with an API of its own"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
