"""Starting a project beside `mlflow run`, cold and warm, until the entry point's first line; one run, ratios.

    uv run python benchmarks/projects.py [warm starts]

Both run the same MLproject with the same python_env.yaml: a folder, one small requirement, the Python that runs this.
Cold: no environment and, for ours, no lock is there; both may take wheels from their caches of downloads, which are
filled before. The time is from the start of the command until the entry point's own first statement, told by a file.
MLflow's virtualenv manager needs `virtualenv` on the PATH (pip install virtualenv), and the Python from pyenv.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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


def until_first_line(command: list[str], environment: dict[str, str], folder: Path) -> float:
    stamp = folder / "stamp"
    stamp.unlink(missing_ok=True)
    begun = time.time()
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return float(stamp.read_text()) - begun


def measure(
    name: str, command: list[str], environment: dict[str, str], *, folder: Path, forget: Callable[[], None], count: int
) -> tuple[float, float]:
    until_first_line(command, environment, folder)  # fills the caches of downloads and compiled modules
    cold = []
    for _ in range(2):
        forget()
        cold.append(until_first_line(command, environment, folder))
    warm = [until_first_line(command, environment, folder) for _ in range(count)]
    print(f"{name:34} cold {min(cold):7.2f} s   warm {statistics.median(warm):6.2f} s (best {min(warm):.2f})")
    return min(cold), statistics.median(warm)


def main(count: int = 5) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="bench-projects-"))
    project = scratch / "project"
    project.mkdir()
    write_project(project)
    stamp = f"stamp={project / 'stamp'}"
    base = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    ours = {**base, "PREFECT_ML_HOME": str(scratch / "ours"), "PREFECT_HOME": str(scratch / "prefect")}
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
        flow = measure(
            "prefect-ml run --flow (with Prefect)",
            [*run, "--flow"],
            ours,
            folder=project,
            forget=lambda: None,
            count=count,
        )
        mlflow = [str(BIN / "mlflow"), "run", "--env-manager", "virtualenv", "-P", stamp, str(project)]
        other = measure("mlflow run (virtualenv)", mlflow, theirs, folder=project, forget=forget_theirs, count=count)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"cold: {other[0] / mine[0]:.1f} times (wanted: 5)   warm: {other[1] / mine[1]:.1f} times (wanted: 10)")
    print(f"through a Prefect flow, an API of its own started each time: {flow[1] - mine[1]:+.2f} s warm")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
