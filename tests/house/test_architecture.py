"""The one direction of imports, held by reading every import of the tree, lazy and type-only ones included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "prefect_ml"

# Rooms that may be imported from, left to right; rooms of one tuple stand side by side.
ORDER: list[tuple[str, ...]] = [
    ("entities", "errors", "settings"),
    ("query", "http"),
    ("store", "artifacts"),
    ("models", "registry", "starter"),
    ("tracking", "serving", "protocol"),
    ("lineage", "sweeps", "moving", "deploying", "scoring", "drift", "projects"),
    ("flowruns",),
    ("track",),
    ("api",),
    ("plugin", "tasks"),
    ("blocks",),
    ("flows", "server"),
    ("cli",),
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}

# Where a third-party package may be imported, by room.
ALLOWED = {
    "prefect": {"flowruns", "track", "plugin", "tasks", "blocks", "flows", "cli"},
    "sqlalchemy": {"store", "moving"},
    "alembic": {"store"},
    "boto3": {"artifacts", "deploying"},
    "fastapi": {"http", "serving", "protocol", "server"},
    "starlette": {"http", "serving", "protocol", "server"},
    "uvicorn": {"http", "serving", "protocol", "server"},
    "prometheus_client": {"http", "serving"},
    "sklearn": {"models", "tracking", "flows"},
    "skops": {"models"},
    "cloudpickle": {"models"},
    "cyclopts": {"cli"},
    "optuna": {"sweeps"},
    "xgboost": {"models", "tracking"},
    "lightgbm": {"models", "tracking"},
    "keras": {"models", "tracking"},
    "lightning": {"models", "tracking"},
    "torch": {"models", "tracking"},
}
MLFLOW_WORDS = ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "/api/2.0/")


def modules() -> dict[str, Path]:
    """Each module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    for room in ("flows", "blocks"):
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found["prefect_ml." + ".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(module: str) -> Iterator[tuple[str, int]]:
    """Each absolute dotted name that a module imports, with its line."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively; write the absolute name"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in MODULES else node.module), node.lineno


def test_every_room_has_its_place_in_the_order():
    assert {room_of(module) for module in MODULES} - {""} <= set(RANK)


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m)])
def test_imports_point_left(module):
    own = room_of(module)
    for target, line in imports(module):
        if not target.startswith("prefect_ml.") or room_of(target) == own:
            continue
        assert RANK[room_of(target)] <= RANK[own], f"{module}:{line} imports {target}, which stands to its right"


@pytest.mark.parametrize("module", list(MODULES))
def test_outside_packages_stay_in_their_rooms(module):
    for target, line in imports(module):
        allowed = ALLOWED.get(target.split(".")[0])
        assert allowed is None or room_of(module) in allowed, f"{module}:{line} imports {target}"


def test_no_import_cycle():
    graph = {m: {t for t, _ in imports(m) if t in MODULES and t != m} for m in MODULES if m != "prefect_ml"}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "cycle: " + " → ".join([*path[path.index(module) :], module])
        if module not in done and module in graph:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("module", list(MODULES))
def test_the_words_of_mlflows_protocol_stay_at_the_edge(module):
    if room_of(module) in {"protocol", "moving"}:
        return
    text = MODULES[module].read_text()
    assert not [word for word in MLFLOW_WORDS if word in text]


@pytest.mark.parametrize("module", list(MODULES))
def test_no_module_outgrows_one_idea(module):
    assert len(MODULES[module].read_text().splitlines()) <= 450


@pytest.mark.parametrize("module", list(MODULES))
def test_names_say_what_a_room_is(module):
    assert not set(module.split(".")) & {"service", "manager", "handler", "utils", "helpers"}
