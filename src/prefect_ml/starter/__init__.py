"""The files of a new project, as `prefect-ml init` writes them: ready to be trained, tested, deployed and served."""

from __future__ import annotations

import re
from pathlib import Path

from prefect_ml.errors import AlreadyExistsError, InvalidInputError

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
_MOST = 64
_HERE = Path(__file__).parent
_SUFFIX = ".jinja"
# Where a file goes that cannot lie here under its own name.
_PLACES = {"env.example": ".env.example", "gitignore": ".gitignore", "test_train.py": "tests/test_train.py"}


def write_starter(folder: Path, name: str, *, pool: str = "ml") -> list[Path]:
    """Write a project into a folder, all of it or nothing.

    Args:
        folder: is made when it is not there.
        name: of the project, its experiment and its model: lower case, digits and dashes.
        pool: Prefect's work pool of its deployments.

    Returns:
        The files that were written.

    Raises:
        InvalidInputError: `name` or `pool` is none.
        AlreadyExistsError: a file of the project is there already.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only who makes a project

    for what, given in (("project", name), ("work pool", pool)):
        if not _NAME.fullmatch(given) or len(given) > _MOST:
            raise InvalidInputError(f"{given[:100]!r} is no name of a {what}; use lower case, digits and dashes.")
    # What is written is code and YAML, and the names in it are checked above.
    templates = Environment(loader=FileSystemLoader(_HERE), undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    texts = {
        folder / _PLACES.get(path.name.removesuffix(_SUFFIX), path.name.removesuffix(_SUFFIX)): templates.get_template(
            path.name
        ).render(name=name, pool=pool)
        for path in sorted(_HERE.glob(f"*{_SUFFIX}"))
    }
    if there := sorted(path.relative_to(folder).as_posix() for path in texts if path.exists()):
        raise AlreadyExistsError(f"{', '.join(there)} in {str(folder)!r} would be overwritten; choose an empty folder.")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)
