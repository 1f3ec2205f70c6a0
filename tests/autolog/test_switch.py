"""Where autolog is on, when libraries are patched, and what an import costs."""

from __future__ import annotations

import contextvars
import importlib
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking import autolog, current
from prefect_ml.tracking.autolog import imports, switch
from prefect_ml.tracking.autolog.fit import TAG


def run_script(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_on_and_off():
    assert not autolog.is_on("sklearn")
    autolog.enable()
    assert all(autolog.is_on(library) for library in autolog.LIBRARIES)
    autolog.enable(["xgboost"])
    assert [library for library in autolog.LIBRARIES if autolog.is_on(library)] == ["xgboost"]
    autolog.disable()
    assert not autolog.is_on("xgboost")


def test_a_scope_says_for_its_context_alone():
    with autolog.scope(on=True):
        assert autolog.is_on("keras")
        with autolog.scope(["lightgbm"]):
            assert autolog.is_on("lightgbm")
            assert not autolog.is_on("keras")
            with autolog.scope(on=False):
                autolog.enable()
                assert not autolog.is_on("lightgbm")
        copied = contextvars.copy_context()
    autolog.enable(["sklearn"])
    assert not autolog.is_on("keras")
    assert copied.run(autolog.is_on, "keras")
    autolog.disable()
    assert not copied.run(autolog.is_on, "keras")


def test_an_unknown_library_is_said():
    with pytest.raises(InvalidInputError, match="Autolog knows no tensorflow; it knows sklearn, xgboost"):
        autolog.enable(["tensorflow", "sklearn"])
    with pytest.raises(InvalidInputError, match="knows no pandas"), autolog.scope("pandas"):
        pytest.fail("it was entered")


def test_nothing_is_recorded_outside_of_runs_nor_outside_of_scopes(begin, stored):
    from sklearn.linear_model import LinearRegression

    with autolog.scope(["sklearn"]):
        assert LinearRegression().fit([[1], [2]], [1, 2]).coef_ is not None
        with begin() as recorded:
            LinearRegression().fit([[1], [2]], [1, 2])
    with begin() as silent:
        LinearRegression().fit([[1], [2]], [1, 2])
    assert TAG in stored(recorded).tags
    assert TAG not in stored(silent).tags


def test_a_finder_that_fails_is_one_warning(begin, caplog, monkeypatch):
    from sklearn.linear_model import LinearRegression

    def lost():
        raise OSError("no idea")

    autolog.enable()
    with begin():
        monkeypatch.setattr(current._Finder, "find", staticmethod(lost))
        LinearRegression().fit([[1], [2]], [1, 2])
    assert "Autolog of sklearn records nothing of this fit: OSError('no idea')" in caplog.text


def test_a_finder_can_be_registered(begin, monkeypatch):
    monkeypatch.setattr(current._Finder, "find", current._Finder.find)
    with begin() as run:
        assert current.find_run() == run
        current.register_finder(lambda: None)
        assert current.find_run() is None


def test_enabling_imports_no_library():
    script = """
        import sys
        from prefect_ml.tracking import autolog
        autolog.enable()
        print([name for name in ("sklearn", "xgboost", "lightgbm", "lightning", "keras", "torch", "numpy", "pandas",
               "prefect", "sqlalchemy") if name in sys.modules])
    """
    assert run_script(script) == ["[]"]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("autolog.enable(['xgboost']); scope = autolog.scope(['sklearn']); scope.__enter__()", ["True", "False"]),
        ("autolog.enable(); autolog.disable(); autolog.enable(['xgboost'])", ["False", "False"]),
    ],
)
def test_a_library_is_patched_when_it_is_imported_later(before, expected):
    script = f"""
        import sys
        from prefect_ml.tracking import autolog
        {before}
        from sklearn.linear_model import LinearRegression
        loader = sys.modules["sklearn.base"].__loader__
        assert type(loader).__name__ == "SourceFileLoader", loader
        assert "exec_module" not in vars(loader)
        print(hasattr(LinearRegression.fit, "_prefect_ml_observed"))
        autolog.disable()
        print(hasattr(LinearRegression.fit, "_prefect_ml_observed"))
    """
    assert run_script(script) == expected


def test_a_library_is_imported_in_several_threads_and_patched_once(tmp_path, monkeypatch):
    (tmp_path / "watched_module.py").write_text("import time; time.sleep(0.3); value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    told = []
    imports.watch("watched_module", told.append)
    threads = [threading.Thread(target=importlib.import_module, args=("watched_module",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    module = sys.modules.pop("watched_module")
    assert told == [module]
    assert module.value == 1


def test_an_import_that_fails_fails_as_it_did_and_is_watched_on(tmp_path, monkeypatch):
    file = tmp_path / "broken_module.py"
    file.write_text("raise OSError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    told = []
    imports.watch("broken_module", told.append)
    with pytest.raises(OSError, match="broken"):
        importlib.import_module("broken_module")
    assert told == []
    file.write_text("whole = True\n")
    importlib.invalidate_caches()
    assert importlib.import_module("broken_module").whole
    assert told == [sys.modules.pop("broken_module")]
    imports.watch("no_module_of_this_name", told.append)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_module_of_this_name")
    assert importlib.util.find_spec("no_module_of_this_name") is None
    imports.unwatch_all()
    assert imports._finder not in sys.meta_path


def test_two_finders_that_ask_each_other_come_to_an_end():
    class Other:
        def find_spec(self, name, path=None, target=None):
            if name != "no_such_module_either":
                return None
            others = (finder for finder in sys.meta_path if finder is not self)
            found = (finder.find_spec(name, path, target) for finder in others)
            return next((spec for spec in found if spec is not None), None)

    other = Other()
    imports.watch("no_such_module_either", print)
    sys.meta_path.insert(0, other)
    try:
        assert importlib.util.find_spec("no_such_module_either") is None
    finally:
        sys.meta_path.remove(other)
        imports.unwatch_all()


def test_a_release_that_cannot_be_patched_is_one_warning(tmp_path):
    (tmp_path / "lightgbm").mkdir()
    (tmp_path / "lightgbm/__init__.py").write_text("def train(): return 'trained'\n")
    script = """
        import logging, sys
        logging.basicConfig(level="WARNING", stream=sys.stdout, format="%(message)s")
        from prefect_ml.tracking import autolog
        autolog.enable()
        import lightgbm
        print(lightgbm.train())
    """
    printed = " ".join(run_script(script, PYTHONPATH=str(tmp_path)))
    assert "Autolog of lightgbm is off in this process: AttributeError" in printed
    assert printed.endswith("trained")


def test_what_is_on_can_be_registered_and_a_scope_and_a_fork_know_better(monkeypatch):
    monkeypatch.setattr(switch, "_choices", [lambda: None, lambda: ["sklearn"]])
    autolog.enable(["xgboost"])
    assert autolog.is_on("sklearn")
    assert not autolog.is_on("xgboost")
    assert not in_a_fork(lambda: autolog.is_on("sklearn"))
    assert in_a_fork(lambda: switch.prepare(on=True) or autolog.is_on("sklearn"))
    with autolog.scope(on=False):
        assert not autolog.is_on("sklearn")


def test_a_forked_child_records_nothing(begin, stored):
    autolog.enable()
    with begin() as run:
        assert autolog.is_on("sklearn")
        assert not in_a_fork(lambda: autolog.is_on("sklearn"))
    assert TAG not in stored(run).tags


def in_a_fork(ask):
    """What a forked child of this process answers."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, b"yes" if ask() else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        return pipe.read() == b"yes"
