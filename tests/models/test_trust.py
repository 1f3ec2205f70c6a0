"""No file of a model folder runs code unless the operator trusts its origin."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import cloudpickle
import pytest
import yaml
from sklearn.preprocessing import FunctionTransformer

import prefect_ml
from prefect_ml.errors import ArtifactError, PrefectMLError, UntrustedModelError
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.models.trust import Trust, unpickle

SOURCES = sorted(Path(prefect_ml.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize(
    ("origin", "patterns", "given"),
    [
        ("models:/a/1", [], False),
        ("models:/a/1", ["models:/a/1"], True),
        ("models:/a/1", ["models:/b/1", "models:/a/*"], True),
        ("models:/a/1", ["models:/a"], False),
        ("models:/a/1", ["*"], True),
        ("models:/a/1", [""], False),
        ("models:/a-copy/1", ["models:/a/*"], False),
        ("models:/a/11", ["models:/a/1"], False),
        ("models:/a/1", ["models:/?/1"], False),
        ("models:/a/1", ["mod*/1"], False),
        ("MODELS:/a/1", ["models:/a/1"], False),
        ("", ["models:*"], False),
    ],
)
def test_only_the_operators_patterns_give_trust(origin, patterns, given):
    assert Trust(origin, patterns).given is given


def test_the_error_says_what_to_set(tmp_path):
    (tmp_path / "m.pkl").write_bytes(b"never opened")
    with pytest.raises(UntrustedModelError) as caught:
        unpickle(tmp_path / "m.pkl", Trust("models:/a/1", ("models:/b/*",)))
    assert "PREFECT_ML_TRUSTED_ORIGINS=models:/a/1" in str(caught.value)
    assert "m.pkl" in str(caught.value)


def test_a_damaged_pickle_is_an_error_of_ours(tmp_path):
    (tmp_path / "m.pkl").write_bytes(b"\x80garbage")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        unpickle(tmp_path / "m.pkl", Trust("x", ("x",)))


def test_the_bomb_is_live(tmp_path, bomb):
    pickle.loads(pickle.dumps(bomb))  # noqa: S301 - shows that the test would notice
    assert (tmp_path / "exploded").exists()


FLAVORS = {
    "pickled sklearn": {"sklearn": {"pickled_model": "m", "serialization_format": "pickle"}},
    "sklearn without a format": {"sklearn": {"pickled_model": "m"}},
    "cloudpickled sklearn": {"sklearn": {"pickled_model": "m", "serialization_format": "cloudpickle"}},
    "pickle called skops": {"sklearn": {"pickled_model": "m", "serialization_format": "skops"}},
    "python": {"python": {"pickled_model": "m", "serialization_format": "cloudpickle"}},
    "mlflow python model": {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "m"}},
    "mlflow sklearn by pyfunc": {"python_function": {"loader_module": "mlflow.sklearn", "model_path": "m"}},
    "code in the folder": {"python_function": {"loader_module": "evil", "code": "code"}},
    "module path": {"python_function": {"loader_module": "os", "data": "m"}},
}


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_bomb_in_any_file_does_not_fire(tmp_path, bomb, flavor):
    folder = tmp_path / "m"
    (folder / "code").mkdir(parents=True)
    content = cloudpickle.dumps(bomb)
    for name in (
        "m",
        "model.pkl",
        "input_example.json",
        "output_example.json",
        "serving_input_example.json",
        "pylock.toml",
        "requirements.txt",
        "conda.yaml",
    ):
        (folder / name).write_bytes(content)
    (folder / "code/evil.py").write_text(f"from pathlib import Path; Path({str(tmp_path / 'exploded')!r}).touch()")
    claims = {"trusted_origins": ["*"], "skops_trusted_types": ["*"], "allow_pickle": True}
    sections = {name: {**conf, **claims} for name, conf in FLAVORS[flavor].items()}
    example = {"artifact_path": "input_example.json", "type": "ndarray"}
    mlmodel = {"flavors": sections, "metadata": claims, "saved_input_example_info": example, **claims}
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    with pytest.raises(PrefectMLError):
        load_model(folder, origin="models:/evil/1", trusted_origins=["models:/good/*"])
    assert not (tmp_path / "exploded").exists()


def test_a_pickled_input_example_does_not_fire(tmp_path, bomb, fitted, cancer):
    save_model(fitted, tmp_path / "m", input_example=cancer[0][:2])
    (tmp_path / "m/input_example.json").write_bytes(pickle.dumps(bomb))
    loaded = load_model(tmp_path / "m", origin="x", trusted_origins=["*"])
    with pytest.raises(ArtifactError, match="input example"):
        _ = loaded.input_example
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:pathlib.Path.touch", "!!python/object/new:pathlib.Path"])
def test_yaml_makes_no_objects(tmp_path, tag):
    (tmp_path / "MLmodel").write_text(f"flavors: {tag} [{tmp_path / 'exploded'}]")
    with pytest.raises(ArtifactError):
        load_model(tmp_path, origin="x", trusted_origins=["*"])
    assert not (tmp_path / "exploded").exists()


def test_a_trust_list_in_the_model_is_not_read(tmp_path):
    """A skops file that holds a function of another package, and an MLmodel file that says it is fine."""
    import os

    import skops.io

    (tmp_path / "m").mkdir()
    skops.io.dump(FunctionTransformer(os.system), tmp_path / "m/model.skops")
    types = skops.io.get_untrusted_types(file=tmp_path / "m/model.skops")
    assert types
    conf = {"pickled_model": "model.skops", "serialization_format": "skops", "skops_trusted_types": types}
    (tmp_path / "m/MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": conf}}))
    with pytest.raises(UntrustedModelError, match=r"system.*PREFECT_ML_TRUSTED_ORIGINS"):
        load_model(tmp_path / "m", origin="x", trusted_origins=["y"])
    assert load_model(tmp_path / "m", origin="x", trusted_origins=["x"]).native.func is os.system


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "link", "code/../../outside", ""])
@pytest.mark.parametrize("flavor", ["sklearn", "python"])
def test_weights_outside_the_folder_are_refused(tmp_path, flavor, name):
    (tmp_path / "outside").write_bytes(pickle.dumps(1))
    (tmp_path / "m").mkdir()
    (tmp_path / "m/link").symlink_to(tmp_path / "outside")
    conf = {"pickled_model": name, "serialization_format": "pickle"}
    (tmp_path / "m/MLmodel").write_text(yaml.safe_dump({"flavors": {flavor: conf}}))
    with pytest.raises(PrefectMLError, match="artifact name"):
        load_model(tmp_path / "m", origin="x", trusted_origins=["*"])


def test_an_mlmodel_file_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "real").write_text("flavors: {sklearn: {}}")
    (tmp_path / "m").mkdir()
    (tmp_path / "m/MLmodel").symlink_to(tmp_path / "real")
    with pytest.raises(PrefectMLError, match="symbolic link"):
        load_model(tmp_path / "m", origin="x")


def calls(path):
    """Each `module.function` that a file calls, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}", node.lineno
        if isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        if isinstance(node, ast.Name) and node.id in ("eval", "exec", "__import__"):
            yield node.id, node.lineno


LOADERS = {
    f"{module}.{name}"
    for module in ("pickle", "cloudpickle", "joblib", "dill", "marshal")
    for name in ("load", "loads", "Unpickler")
}
UNSAFE = {
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "shelve.open",
    "pandas.read_pickle",
    "pd.read_pickle",
    "eval",
    "exec",
    "__import__",
}


SWITCHES = {("allow_pickle", True), ("weights_only", False), ("safe_mode", False), ("trust_remote_code", True)}


def switches(path):
    """Each call of a `...load...` whose arguments let it run what it reads, as (function, argument, value)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and "load" in (name := ast.unparse(node.func)):
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if (keyword.arg, value) in SWITCHES:
                    yield name, keyword.arg, value


def test_every_unpickling_goes_through_the_one_gate():
    found = [(path.name, call) for path in SOURCES for call, _ in calls(path) if call in LOADERS]
    # The loader is only copied into model folders, for MLflow.
    assert found == [("python_loader.py", "cloudpickle.load"), ("trust.py", "pickle.Unpickler")]
    assert not [path for path in SOURCES if "python_loader import" in path.read_text()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_else_that_runs_what_it_reads(path):
    # track.py compiles wrappers of its own text, so that Prefect finds the user's file behind a flow
    allowed = {"exec"} if path.name == "track.py" else set()
    found = [(call, line) for call, line in calls(path) if call in UNSAFE - allowed]
    assert found == []
    gate = {("torch.load", "weights_only", False)} if path.name == "trust.py" else set()
    assert set(switches(path)) - gate == set()
