"""The one direction of imports, held by reading every import of the tree, lazy and type-only ones included."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

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


@cache
def text_of(module: str) -> str:
    return MODULES[module].read_text()


@cache
def imports(module: str) -> list[tuple[str, int]]:
    """Each absolute dotted name that a module imports, with its line."""
    found = []
    for node in ast.walk(ast.parse(text_of(module))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively; write the absolute name"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append((whole if whole in MODULES else node.module, node.lineno))
    return found


# A test for each module and rule would be thousands, which take longer to name than to run.
def test_every_room_has_its_place_in_the_order():
    assert {room_of(module) for module in MODULES} - {""} <= set(RANK)


def test_imports_point_left():
    wrong = [
        f"{module}:{line} imports {target}, which stands to its right"
        for module in MODULES
        if room_of(module)
        for target, line in imports(module)
        if target.startswith("prefect_ml.") and RANK[room_of(target)] > RANK[room_of(module)]
    ]
    assert wrong == []


def test_outside_packages_stay_in_their_rooms():
    wrong = [
        f"{module}:{line} imports {target}"
        for module in MODULES
        for target, line in imports(module)
        if room_of(module) not in ALLOWED.get(target.split(".")[0], {room_of(module)})
    ]
    assert wrong == []


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


def test_the_words_of_mlflows_protocol_stay_at_the_edge():
    wrong = [
        f"{module}: {word}"
        for module in MODULES
        if room_of(module) not in {"protocol", "moving"}
        for word in MLFLOW_WORDS
        if word in text_of(module)
    ]
    assert wrong == []


def test_no_module_outgrows_one_idea():
    lengths = {module: len(text_of(module).splitlines()) for module in MODULES}
    assert {module: length for module, length in lengths.items() if length > 450} == {}


def test_names_say_what_a_room_is():
    vague = {"service", "manager", "handler", "utils", "helpers"}
    assert [module for module in MODULES if set(module.split(".")) & vague] == []
