"""What `import prefect_ml` costs, and which names it has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import prefect_ml

HEAVY = [
    "sklearn",
    "skops",
    "pandas",
    "numpy",
    "torch",
    "boto3",
    "sqlalchemy",
    "alembic",
    "fastapi",
    "matplotlib",
    "prefect",
]

NAMES = [
    "PrefectMLError",
    "__version__",
    "approve",
    "autolog",
    "current_run",
    "flush",
    "get_alias",
    "get_attempts",
    "get_lineage",
    "get_metric_history",
    "get_run",
    "get_steps",
    "load_model",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_input",
    "log_metric",
    "log_metrics",
    "log_model",
    "log_param",
    "log_params",
    "log_text",
    "open_store",
    "promote",
    "register_model",
    "reject",
    "request_promotion",
    "request_rollback",
    "rollback",
    "run_project",
    "search_runs",
    "set_tag",
    "set_tags",
    "sign_model",
    "start_run",
    "track",
]


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_imports_nothing_heavy():
    code = f"import json, sys, prefect_ml; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert json.loads(in_a_new_process(code)) == []


def test_logging_in_a_script_needs_no_prefect_and_no_sqlalchemy_in_the_calling_thread():
    code = """
import sys, prefect_ml
prefect_ml.log_metric, prefect_ml.start_run
print(*[name in sys.modules for name in ("prefect", "sqlalchemy", "numpy")])
"""
    assert in_a_new_process(code).split() == ["False"] * 3


def test_import_adds_next_to_nothing_over_prefect():
    code = """
import sys, time, prefect
for _ in range(3):
    for name in [name for name in sys.modules if name.partition(".")[0] == "prefect_ml"]:
        del sys.modules[name]
    began = time.perf_counter()
    import prefect_ml
    print((time.perf_counter() - began) * 1000)
"""
    assert min(map(float, in_a_new_process(code).split())) < 50


def test_public_names():
    assert sorted(prefect_ml.__all__) == sorted(NAMES)
    for name in NAMES:
        assert getattr(prefect_ml, name) is not None
    assert set(NAMES) <= set(dir(prefect_ml))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = prefect_ml.nonsense


@pytest.mark.parametrize(
    "first", ["import prefect_ml.track", "import prefect, prefect_ml; prefect_ml.start_run()", "pass"]
)
def test_track_is_the_decorator_whatever_was_imported_first(first):
    code = f"""
{first}
import prefect_ml
from prefect import flow

@prefect_ml.track
@flow
def f(): ...

@prefect_ml.track(experiment="x")
@flow
def g(): ...

print(len(f.on_completion_hooks), len(g.on_completion_hooks))
"""
    assert in_a_new_process(code).split() == ["1", "1"]


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert prefect_ml.__version__ == version("prefect-ml")
