"""`prefect-ml models check`: a model in an environment that uv builds of what it asks for; tests share the folder."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import zipfile
from contextlib import closing

import mlflow
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from prefect_ml.cli import main
from prefect_ml.models import closure
from prefect_ml.models.folder import save_model
from prefect_ml.models.uv import find_uv, uv_environment
from prefect_ml.registry.register import register_model
from prefect_ml.store import open_store

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def check(monkeypatch, capsys, home, tmp_path):
    """Runs the command on a folder that is trusted; its exit code and what it said."""
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setenv("PREFECT_ML_HOME", str(home))

    def run(folder, *arguments, trusted="*"):
        monkeypatch.setenv("PREFECT_ML_TRUSTED_ORIGINS", trusted)
        monkeypatch.setattr(sys, "argv", ["prefect-ml", "models", "check", str(folder), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out or said.err

    return run


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages that no index has: one that was installed from a wheel, and one from a folder, editable."""
    site, wheels = tmp_path / "site", tmp_path / "wheels"
    for folder in (site, wheels):
        folder.mkdir()
    monkeypatch.syspath_prepend(str(site))
    editable = '{"url": "file:///x", "dir_info": {"editable": true}}'
    # No public index takes a version with a local part, so none can have this one.
    for name, version, direct_url in (("wheelpack", "1.0+test", None), ("sourcepack", "1.0", editable)):
        files = {
            f"{name}/__init__.py": f"from {name}.numbers import FACTOR\n",
            f"{name}/numbers.py": "FACTOR = 3.0\n",
            f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{name}-{version}.dist-info/top_level.txt": name,
        }
        if direct_url is None:
            with zipfile.ZipFile(wheels / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
                for path, text in files.items():
                    wheel.writestr(path, text)
                wheel.writestr(f"{name}-{version}.dist-info/RECORD", "".join(f"{path},,\n" for path in files))
        else:
            files[f"{name}-{version}.dist-info/direct_url.json"] = direct_url
        for path, text in files.items():
            (site / path).parent.mkdir(exist_ok=True)
            (site / path).write_text(text)
    caches = (closure._by_module, closure._distribution, closure._came_from_no_index, closure._requirements)
    for cached in caches:
        cached.cache_clear()
    importlib.invalidate_caches()
    yield wheels
    for module in [name for name in sys.modules if name.split(".")[0] in ("wheelpack", "sourcepack")]:
        del sys.modules[module]
    for cached in caches:
        cached.cache_clear()


# Modules of the test `test_wheels_of_...`; functions refer to modules in both ways.
wheelpack = numbers = None


def triple(data):
    import sourcepack

    return [value * sourcepack.FACTOR * wheelpack.FACTOR * numbers.FACTOR for value in data]


def double(data):
    return [2.0 * value for value in data]


@pytest.fixture
def model(tmp_path):
    save_model(double, tmp_path / "m", input_example=[1.0, 2.0])
    return tmp_path / "m"


def test_wheels_of_a_folder_and_code_of_ones_own_are_restored(check, packages, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setitem(globals(), "wheelpack", importlib.import_module("wheelpack"))
    monkeypatch.setitem(globals(), "numbers", importlib.import_module("sourcepack.numbers"))
    save_model(triple, tmp_path / "m", input_example=[1.0, 2.0])
    assert (tmp_path / "m" / "code" / "sourcepack" / "numbers.py").is_file()
    code, said = check(tmp_path / "m", "--json")
    found = json.loads(said)
    assert (code, found["passed"]) == (0, True), said
    assert "wheelpack==1.0+test" in found["installed"]
    assert not any(line.startswith("sourcepack") for line in found["installed"])
    assert found["pins"] == found["with_digests"] == 2
    assert {line.partition("==")[0] for line in found["not_pinned"]} >= {"pydantic", "pyyaml"}
    assert found["compared_with"] == "the outputs kept with the model"


def test_it_says_in_a_sentence_what_it_found(check, model):
    code, said = check(model)
    assert code == 0
    assert f"{model} loads in a clean environment" in said
    assert "predicts the same" in said
    code, again = check(model, "--json")
    assert (code, json.loads(again)["build_seconds"] < 60) == (0, True)


def test_other_outputs_end_with_1(check, model):
    (model / "output_example.json").write_text("[2.0, 5.0]")
    code, said = check(model)
    assert code == 1
    assert "predicts something else in a clean environment: the output[1] is 4.0 instead of 5.0." in said


def needs_numpy(data):
    import numpy as np

    return [float(np.float64(value)) for value in data]


def test_a_library_that_the_requirements_lack_ends_with_1(check, tmp_path):
    save_model(needs_numpy, tmp_path / "m", input_example=[1.0])
    requirements = tmp_path / "m" / "requirements.txt"
    kept = [line for line in requirements.read_text().splitlines() if line.startswith("cloudpickle")]
    requirements.write_text("\n".join(kept))
    code, said = check(tmp_path / "m")
    assert code == 1
    assert "does not work elsewhere: in a clean environment the model fails: " in said
    assert "No module named 'numpy'" in said


def test_what_no_index_has_ends_with_1(check, model, monkeypatch):
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (model / "requirements.txt").write_text("no-such-thing==1.0\n")
    code, said = check(model)
    assert code == 1
    assert "cannot be restored: uv could not build the model's environment" in said


def test_files_with_other_digests_are_not_installed(check, model):
    lock = model / "pylock.toml"
    lock.write_text(re.sub(r'(?<=sha256 = ")[0-9a-f]{64}', "0" * 64, lock.read_text()))
    code, said = check(model)
    assert code == 1
    assert "cannot be restored" in said
    assert "Hash mismatch" in said


def without_example(folder):
    save_model(double, folder)


def without_versions(folder):
    save_model(double, folder, input_example=[1.0])
    (folder / "requirements.txt").write_text("cloudpickle>=2\n")


def whole(folder):
    save_model(double, folder, input_example=[1.0])


@pytest.mark.parametrize(
    ("make", "arguments", "part"),
    [
        (whole, ("", ), "set PREFECT_ML_TRUSTED_ORIGINS="),
        (without_example, ("*", ), "keeps no input example"),
        (without_versions, ("*", ), "is no plain pin"),
        (whole, ("*", "--timeout", "0.001"), "longer than 0.001 s"),
    ],
    ids=["trust", "example", "requirements", "time"],
)  # fmt: skip
def test_what_cannot_be_checked_ends_with_2(check, tmp_path, make, arguments, part):
    make(tmp_path / "m")
    code, said = check(tmp_path / "m", *arguments[1:], trusted=arguments[0])
    assert code == 2
    assert said.startswith("Not checked: ")
    assert part in said


def test_json_says_why_as_well(check, tmp_path):
    code, said = check(tmp_path / "nothing", "--json")
    assert code == 2
    assert json.loads(said)["passed"] is None


def test_the_version_that_an_alias_points_at_is_checked(check, model, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_ML_STORE_URL", f"sqlite:///{tmp_path}/ml.db")
    with closing(open_store()) as store:
        version = register_model(store, str(model), "m")
        store.set_alias("m", "champion", version.version)
    assert check("models:/m@champion", trusted="models:/other/*")[0] == 2
    code, said = check("models:/m@champion", trusted="models:/m/*")
    assert (code, "models:/m@champion loads in a clean environment" in said) == (0, True), said


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_mlflow_saved_is_checked_against_what_it_predicts_here(check, tmp_path):
    """With MLflow's own requirements, which come from the index."""
    x = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    fitted = LogisticRegression().fit(x, [0, 0, 1, 1])
    mlflow.sklearn.save_model(fitted, str(tmp_path / "m"), input_example=x, serialization_format="skops")
    assert "mlflow==" in (tmp_path / "m/requirements.txt").read_text()
    code, said = check(tmp_path / "m", "--json", trusted="nothing")
    found = json.loads(said)
    assert (code, found["passed"], found["compared_with"]) == (0, True, "this environment"), said


PROJECT = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "ours-in-src"
version = "1.0"

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
oursinsrc = ["data/*.txt"]
""",
    "src/oursinsrc/__init__.py": """
from importlib.resources import files


class Scaled:
    def predict(self, data):
        factor = float(files(__package__).joinpath("data/factor.txt").read_text())
        return [value * factor for value in data]
""",
    "src/oursinsrc/data/factor.txt": "3.0",
}
SAVE = """
import site, sys
site.addsitedir(sys.argv[1])
from pathlib import Path
from oursinsrc import Scaled
from prefect_ml.models.folder import save_model
save_model(Scaled(), Path(sys.argv[2]), input_example=[1.0, 2.0])
"""


@pytest.mark.long
@pytest.mark.parametrize("how", [["-e"], []], ids=["editable", "built"])
def test_a_package_of_src_layout_with_data_goes_along(check, tmp_path, how):
    for name, text in PROJECT.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text)
    site, folder = tmp_path / "site", tmp_path / "m"
    command = [find_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(site), *how]
    for argv in ([*command, str(tmp_path / "project")], [sys.executable, "-c", SAVE, str(site), str(folder)]):
        done = subprocess.run(argv, env={**os.environ, **uv_environment()}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "oursinsrc" not in (folder / "requirements.txt").read_text()
    assert "ours-in-src" not in (folder / "requirements.txt").read_text()
    assert (folder / "code/oursinsrc/data/factor.txt").read_text() == "3.0"
    code, said = check(folder, "--json")
    assert (code, json.loads(said)["passed"]) == (0, True), said
