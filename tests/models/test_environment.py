"""What is written of a model's environment: every distribution in its exact version, and code that no index has."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.pylock import Pylock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from prefect_ml.errors import InvalidInputError
from prefect_ml.models import closure, own_code
from prefect_ml.models.closure import needed_for
from prefect_ml.models.environment import write_environment
from prefect_ml.models.folder import save_model
from prefect_ml.models.lock import read_hashes, write_lock
from prefect_ml.models.uv import find_uv, uv_environment


def names(pins):
    return {canonicalize_name(pin.partition("==")[0]) for pin in pins}


def fresh():
    """Forget what was looked up, as another process would."""
    importlib.invalidate_caches()
    for cached in (closure._by_module, closure._distribution, closure._came_from_no_index, closure._requirements):
        cached.cache_clear()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder of this process's path, to which distributions and modules of the test's own are added."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    # No index is asked for what it cannot have.
    monkeypatch.setenv("UV_OFFLINE", "1")

    def add(name, files, *, requires=(), direct_url=None):
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        if name is not None:
            info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
            info.mkdir()
            lines = [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                "Version: 1.0",
                *(f"Requires-Dist: {r}" for r in requires),
            ]
            (info / "METADATA").write_text("\n".join(lines) + "\n")
            (info / "top_level.txt").write_text("\n".join({path.split("/")[0].removesuffix(".py") for path in files}))
            if direct_url is not None:
                (info / "direct_url.json").write_text(direct_url)
        fresh()

    yield add
    for module in [name for name in sys.modules if str(folder) in str(getattr(sys.modules[name], "__file__", ""))]:
        del sys.modules[module]
    fresh()


@pytest.mark.parametrize("module", ["sklearn", "mlflow", "prefect_ml"])
def test_whatever_a_distribution_requires_here_is_pinned(module):
    needed = needed_for([module])
    pins = names(needed.pins)
    for pin in needed.pins:
        for line in distribution(pin.partition("==")[0]).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in pins | names(needed.absent), f"{pin} requires {line}"
    assert all(version(pin.partition("==")[0]) == pin.partition("==")[2] for pin in needed.pins)


def test_extras_are_followed_and_markers_hold_here(installed):
    installed("extra-pack", {"extrapack.py": ""})
    installed("nowhere-pack", {"nowherepack.py": ""})
    installed("base-pack", {"basepack.py": ""}, requires=["extra-pack; extra == 'more'", "not a requirement !!"])
    installed(
        "top-pack",
        {"toppack.py": ""},
        requires=["base-pack[more]>=0.1", "nowhere-pack; python_version < '3'", "not-here>=2", "top-pack[all]"],
    )
    needed = needed_for(["toppack"])
    assert needed.direct == {"top-pack": "1.0"}
    assert needed.further == {"base-pack": "1.0", "extra-pack": "1.0"}
    assert needed.absent == {"not-here>=2"}
    assert needed_for(["basepack"]).further == {}


def test_what_is_required_and_not_there_is_a_comment(installed, tmp_path):
    installed("lone-pack", {"lonepack.py": ""}, requires=["not-here>=2"])
    write_environment(tmp_path, ["lonepack"])
    assert (tmp_path / "requirements.txt").read_text().splitlines() == [
        "# imported by the model",
        "lone-pack==1.0",
        "# required by these, and not installed here: not-here>=2",
    ]


def test_what_is_imported_and_required_counts_as_imported(installed):
    installed("low-pack", {"lowpack.py": ""})
    installed("high-pack", {"highpack.py": ""}, requires=["low-pack"])
    for modules in (["lowpack", "highpack"], ["highpack", "lowpack"]):
        needed = needed_for(modules)
        assert (set(needed.direct), needed.further) == ({"low-pack", "high-pack"}, {})


def test_the_standard_library_and_unknown_modules_need_nothing():
    needed = needed_for(["json", "os", "__main__", "", "no_such_module_anywhere"])
    assert (needed.pins, needed.own) == ([], set())


@pytest.mark.parametrize(
    "direct_url",
    [
        '{"url": "file:///home/me/work", "dir_info": {"editable": true}}',
        '{"url": "file:///home/me/work", "dir_info": {}}',
        '{"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "00"}}',
    ],
    ids=["editable", "folder", "repository"],
)
def test_the_code_of_what_no_index_has_goes_along(installed, tmp_path, direct_url):
    installed("public-pack", {"publicpack.py": ""})
    installed("helper-pack", {"helperpack.py": "import numpy"}, direct_url=direct_url)
    installed(
        "our-pack",
        {
            "ourpack/__init__.py": "def late():\n    import yaml\n",
            "ourpack/deep/more.py": "from .. import __init__\nfrom helperpack import x",
            "ourpack/table.csv": "1,2",
            "ourpack/.env": "SECRET=1",
            "ourpack/tests/test_it.py": "import mlflow",
            "ourpack/broken.py.txt": "?",
            "ourpack/template.py": "{{ not python }}",
        },
        requires=["public-pack"],
        direct_url=direct_url,
    )
    needed = needed_for(["ourpack"])
    assert needed.own == {"ourpack", "helperpack"}
    assert set(needed.direct) == {"numpy", "PyYAML"}
    assert set(needed.further) == {"public-pack"}
    (tmp_path / "m").mkdir()
    write_environment(tmp_path / "m", ["ourpack"])
    code = tmp_path / "m" / "code"
    assert {path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file()} == {
        "helperpack.py",
        "ourpack/__init__.py",
        "ourpack/broken.py.txt",
        "ourpack/deep/more.py",
        "ourpack/table.csv",
        "ourpack/template.py",
    }


def test_a_wheel_of_an_index_by_its_url_is_pinned(installed):
    installed("wheel-pack", {"wheelpack.py": ""}, direct_url='{"url": "https://x/w.whl", "archive_info": {}}')
    assert needed_for(["wheelpack"]).pins == ["wheel-pack==1.0"]


def test_modules_of_ones_own_go_along_and_their_imports_are_found(installed, tmp_path):
    installed(None, {"mine.py": "import theirs_too\nimport scipy.stats", "theirs_too/__init__.py": "import json"})
    needed = needed_for(["mine"])
    assert needed.own == {"mine", "theirs_too"}
    assert set(needed.direct) == {"scipy"}
    (tmp_path / "theirs_too").mkdir()
    (tmp_path / "theirs_too" / "__init__.py").write_text("kept = True")
    own_code.copy_code(needed.own, tmp_path)
    assert (tmp_path / "theirs_too" / "__init__.py").read_text() == "kept = True"
    assert (tmp_path / "mine.py").read_text().startswith("import theirs_too")


def test_data_beside_ones_own_code_does_not_go_along_by_the_gigabyte(installed, tmp_path):
    installed(None, {"bulky/__init__.py": ""})
    with (tmp_path / "site" / "bulky" / "data.bin").open("wb") as stream:
        stream.truncate(65 << 20)
    with pytest.raises(InvalidInputError, match=r"'bulky' .* has 65 MiB"):
        write_environment(tmp_path, ["bulky"])


def test_all_files_name_the_same_versions(tmp_path):
    write_environment(tmp_path, ["sklearn"])
    lines = (tmp_path / "requirements.txt").read_text().splitlines()
    pins = sorted(line for line in lines if not line.startswith("#"))
    conda = yaml.safe_load((tmp_path / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": pins}
    python_env = yaml.safe_load((tmp_path / "python_env.yaml").read_text())
    assert python_env["dependencies"] == ["-r requirements.txt"]
    lock = Pylock.from_dict(tomllib.loads((tmp_path / "pylock.toml").read_text()))
    assert {f"{package.name}=={package.version}" for package in lock.packages} == {
        f"{canonicalize_name(pin.partition('==')[0])}=={pin.partition('==')[2]}" for pin in pins
    }
    assert read_hashes(tmp_path).keys() == names(pins)
    assert all(digest.startswith("sha256:") for found in read_hashes(tmp_path).values() for digest in found)


def test_mlflow_reads_the_requirements(tmp_path):
    from mlflow.utils.requirements_utils import _parse_requirements

    write_environment(tmp_path, ["yaml"])
    found = [r.req_str for r in _parse_requirements(str(tmp_path / "requirements.txt"), is_constraint=False)]
    assert found == [f"PyYAML=={version('pyyaml')}"]


def test_uv_installs_from_the_lock(tmp_path):
    write_environment(tmp_path, ["yaml"])
    argv = [find_uv(), "pip", "install", "--target", tmp_path / "site", "-r", tmp_path / "pylock.toml"]
    done = subprocess.run(argv, env=uv_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "yaml").is_dir()


def test_without_an_index_that_has_it_there_is_no_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("UV_NO_INDEX", "1")
    assert not write_lock(tmp_path, ["no-such-distribution-of-ours==1.0"])
    assert not (tmp_path / "pylock.toml").exists()
    assert read_hashes(tmp_path) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "packages = 3",
        "packages = [3]",
        "[[packages]]\nname='a'\nwheels=[{url='x-1-py3-none-any.whl'}]",
        "\x00",
        "a=" + "[" * 9999,
    ],
    ids=range(6),
)
def test_a_broken_lock_allows_nothing_in_particular(tmp_path, text):
    (tmp_path / "pylock.toml").write_text(text)
    assert read_hashes(tmp_path) == {}


def test_digests_are_of_this_platform_only(tmp_path):
    digest = "0" * 64
    wheels = {
        "here": ("url = 'https://x/here-1-py3-none-any.whl'", digest),
        "there": ("url = 'https://x/there-1-cp38-cp38-win32.whl'", digest),
        "odd": ("path = 'odd-1-py3-none-any.whl'", "--evil"),
    }
    packages = [
        f"[[packages]]\nname = '{name}'\nwheels = [{{{place}, hashes = {{sha256 = '{sha256}'}}}}]\n"
        for name, (place, sha256) in wheels.items()
    ]
    (tmp_path / "pylock.toml").write_text("".join(packages))
    assert read_hashes(tmp_path) == {"here": [f"sha256:{digest}"]}


def test_pips_settings_of_indexes_count_and_uvs_go_before(monkeypatch):
    for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://a.example https://b.example")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    found = uv_environment()
    assert found["UV_DEFAULT_INDEX"] == "https://pip.example/simple"
    assert found["UV_INDEX"] == "https://a.example https://b.example"
    assert found["UV_FIND_LINKS"] == "/wheels,/more"
    monkeypatch.setenv("UV_INDEX_URL", "https://uv.example/simple")
    monkeypatch.setenv("UV_FIND_LINKS", "/own")
    found = uv_environment()
    assert "UV_DEFAULT_INDEX" not in found
    assert found["UV_FIND_LINKS"] == "/own"


def test_looking_the_environment_up_again_is_quick_to_write(tmp_path):
    """The second save of a process asks neither metadata nor uv again."""
    write_environment(tmp_path, ["sklearn"])
    before = (closure._requirements.cache_info().misses, Path(tmp_path / "pylock.toml").read_text())
    write_environment(tmp_path, ["sklearn"])
    assert (closure._requirements.cache_info().misses, Path(tmp_path / "pylock.toml").read_text()) == before


def rows(data):
    return [len(data)]


@pytest.mark.parametrize(("example", "needs"), [([{"a": 1}], True), ({"a": 1}, True), ([1, 2], False)], ids=str)
def test_a_model_that_is_given_frames_here_needs_pandas_there(tmp_path, example, needs):
    save_model(rows, tmp_path / "m", input_example=example)
    assert ("pandas==" in (tmp_path / "m" / "requirements.txt").read_text()) == needs


def test_a_model_without_a_signature_says_so(tmp_path, caplog):
    save_model(rows, tmp_path / "m")
    assert "saved without a signature" in caplog.text
    caplog.clear()
    save_model(rows, tmp_path / "n", input_example=[1])
    assert not caplog.text


def test_a_pickled_estimator_takes_the_code_of_its_own_classes_along(installed, tmp_path):
    installed(
        None,
        {
            "ourscaling.py": (
                "from sklearn.base import BaseEstimator\nfrom ourconstants import FACTOR\n\n\n"
                "class Scaled(BaseEstimator):\n"
                "    def predict(self, data):\n        return [FACTOR * v for v in data]\n"
            ),
            "ourconstants.py": "FACTOR = 3\n",
        },
    )
    save_model(importlib.import_module("ourscaling").Scaled(), tmp_path / "m", input_example=[1, 2], allow_pickle=True)
    load = (
        "import sys\nfrom pathlib import Path\nfrom prefect_ml.models.folder import load_model\n"
        "print(load_model(Path(sys.argv[1]), origin='x', trusted_origins=['x']).predict([1, 2]))"
    )
    done = subprocess.run([sys.executable, "-c", load, tmp_path / "m"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[3, 6]", done.stderr
