"""`prefect-ml init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prefect_ml.cli.output import Json, console, print_json


def init(
    name: str,
    *,
    folder: Path | None = None,
    pool: Annotated[str, Parameter(name=("--work-pool", "--pool"))] = "ml",
    json: Json = False,
) -> None:
    """Write a project that trains, tests, deploys and serves as it is.

    Args:
        name: Of the project, its experiment and its model: lower case, digits and dashes.
        folder: Where it is written; one of that name by default.
        pool: Prefect's work pool of its deployments.
        json: Print JSON for programs.
    """
    from prefect_ml.starter import write_starter  # noqa: PLC0415 (loads templates)

    target = folder or Path(name)
    written = write_starter(target, name, pool=pool)
    if json:
        print_json({"folder": str(target), "files": [path.relative_to(target).as_posix() for path in written]})
        return
    console.print(f"Wrote {len(written)} files to {target}; its README.md says how to go on.", markup=False)
