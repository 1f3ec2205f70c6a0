"""The build context of an image: what is in it, that it is clean, and that the same steps make what serves."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from sklearn.linear_model import LinearRegression

from prefect_ml.deploying.container import Context, _refuse_other_files, build_command, write_context
from prefect_ml.deploying.dockerfile import ENVIRONMENT, dockerfile, system_packages
from prefect_ml.deploying.kubernetes import manifests
from prefect_ml.deploying.needs import needs_of
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.digest import folder_digest
from prefect_ml.models.folder import save_model
from prefect_ml.models.lock import read_hashes
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

COMMAND = Path(sys.executable).with_name("prefect-ml")
HADOLINT = Path(sys.executable).with_name("hadolint")
SECRET = "not-for-layers"  # noqa: S105 - of this test


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "linear"
    rows = [[1.0], [2.0], [3.0]]
    save_model(LinearRegression().fit(rows, [2.0, 4.0, 6.0]), folder, input_example=rows)
    return folder


@pytest.fixture(scope="module")
def context(model, tmp_path_factory):
    """What the command wrote, and what it said; there is no engine on its path."""
    base = tmp_path_factory.mktemp("context")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PREFECT_ML_")},
        "PREFECT_ML_HOME": str(base / "home"),
        "PREFECT_ML_SERVE_TOKEN": SECRET,
        "PATH": str(base),
    }
    options = ["--tag", "registry.example/linear:1", "--output", base / "image", "--json"]
    command = [COMMAND, "build-image", *options, "--", model]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {
        "folder": str(base / "image"),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "model_uri": str(model),
        "digest": folder_digest(model),
        "tag": "registry.example/linear:1",
        "built": False,
    }
    return base / "image"


def test_the_context_holds_the_model_the_lock_and_nothing_else(context, model):
    assert {path.name for path in context.iterdir()} == {"Dockerfile", "requirements.lock", "wheels", "model"}
    assert folder_digest(context / "model") == folder_digest(model)
    lock = (context / "requirements.lock").read_text()
    wheels = [path.name for path in (context / "wheels").iterdir()]
    assert wheels == [f"prefect_ml-{version('prefect-ml')}-py3-none-any.whl"]
    for named in (f"scikit-learn=={version('scikit-learn')} ", "prefect==", "uvicorn==", f"./wheels/{wheels[0]}"):
        assert f"\n{named}" in lock, named
    entries = [entry for entry in re.split(r"\n(?=\S)", lock.strip()) if not entry.startswith("#")]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert {path.stat().st_mode & 0o777 for path in context.rglob("*") if path.is_file()} == {0o644}


def test_no_secret_enters_a_layer(context):
    assert [path for path in context.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []
    text = (context / "Dockerfile").read_text()
    assert "ARG" not in text
    assert "TOKEN" not in text


def test_the_linter_of_dockerfiles_finds_nothing(context):
    done = subprocess.run([HADOLINT, context / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_libraries_that_a_wheel_does_not_hold_are_installed(context, tmp_path):
    assert system_packages((context / "requirements.lock").read_text()) == []
    assert "apt-get" not in (context / "Dockerfile").read_text()
    system = system_packages("lightgbm==4.7.0 \\\n    --hash=sha256:0\nnumpy==2.4.6\n")
    text = dockerfile(python="3.12", uv="1.0", system=system)
    assert "--no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*\nRUN useradd" in text
    (tmp_path / "Dockerfile").write_text(text)
    done = subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_finds_what_is_wrong(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN pip install uv\nENTRYPOINT prefect-ml serve\n")
    done = subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert {"DL3006", "DL3013", "DL3025"} <= set(re.findall(r"DL\d+", done.stdout))


def test_the_last_stage_is_small_and_runs_as_nobody(context):
    text = (context / "Dockerfile").read_text().replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    user = re.search(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    assert user
    assert "0" not in user.groups()
    probe = json.loads(re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", last, re.MULTILINE)[1])
    assert "/ping" in probe[-1]
    compile(probe[-1], "probe", "exec")
    entry = json.loads(re.search(r"^ENTRYPOINT (\[.*\])$", last, re.MULTILINE)[1])
    assert entry == [f"{ENVIRONMENT}/bin/python", "-m", "prefect_ml.deploying.inside"]
    assert "uv" not in re.findall(r"\w+", re.sub(r"#.*", "", last))
    assert "wheels" not in last


def test_other_files_of_the_same_version_are_refused(model, context, tmp_path):
    lock = (context / "requirements.lock").read_text()
    _refuse_other_files(lock, model)
    assert read_hashes(model)["numpy"]
    other = shutil.copytree(model, tmp_path / "other")
    text = (other / "pylock.toml").read_text()
    digests = [found.removeprefix("sha256:") for found in read_hashes(model)["numpy"]]
    for digest in digests:
        text = text.replace(digest, "0" * 64)
    (other / "pylock.toml").write_text(text)
    with pytest.raises(CorruptArtifactError, match="other files of 'numpy'"):
        _refuse_other_files(lock, other)


def steps(context):
    """The commands of the first stage after uv is there, as they stand in the Dockerfile."""
    [line] = [line for line in (context / "Dockerfile").read_text().splitlines() if line.startswith("RUN uv venv")]
    return [shlex.split(step) for step in line.removeprefix("RUN ").split(" && ")]


@pytest.mark.long
def test_the_same_steps_in_a_folder_make_what_serves(context, tmp_path):
    environment = {**os.environ, "UV_LINK_MODE": "copy", "UV_PYTHON": sys.executable}
    place = str(tmp_path / "venv")
    for step in steps(context):
        command = [sys.executable, "-m", "uv", *(part.replace(ENVIRONMENT, place) for part in step[1:])]
        subprocess.run(command, cwd=context, env=environment, check=True, capture_output=True, timeout=250)
    python = tmp_path / "venv" / "bin" / "python"
    found = subprocess.run(
        [python, "-c", "import prefect_ml, sklearn; print(prefect_ml.__file__, sklearn.__version__)"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()
    assert found[0].startswith(place)
    assert found[1] == version("scikit-learn")
    answer_of(python, context / "model", tmp_path)


def test_what_the_image_starts_serves_over_a_socket(context, tmp_path):
    answer_of(Path(sys.executable), context / "model", tmp_path)


def answer_of(python, model, home):
    """Start what the image starts, as its user would be: with a home of its own and no other environment."""
    command = [python, "-m", "prefect_ml.deploying.inside", "serve", "--port", "0", "--", model]
    environment = {
        "PREFECT_ML_HOME": str(home / "home"),
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PREFECT_ML_SERVE_TOKEN": SECRET,
    }
    process = subprocess.Popen(command, env=environment, cwd=home, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving "), f"it ended with {process.wait(30)}"
        url = line.split(" at ")[1].strip()
        headers = {"authorization": f"Bearer {SECRET}"}
        answer = httpx.post(f"{url}/invocations", json={"inputs": [[5.0]]}, headers=headers, timeout=30)
        assert answer.json()["predictions"] == pytest.approx([10.0])
        probed(python, url.rpartition(":")[2], environment)
    finally:
        process.terminate()
        assert process.wait(40) == 0
        process.stdout.close()


def probed(python, port, environment):
    """The health check of the image and the readiness of Kubernetes say what is so, in the container's environment."""
    found = dockerfile(python="3.12", uv="1.0")
    alive = json.loads(re.search(r"CMD (\[.*\])\n", found)[1])[-1]
    pods = manifests("/opt/model", image="linear:1", name="linear")
    [pod] = [each["spec"]["template"]["spec"] for each in pods if each["kind"] == "Deployment"]
    ready = pod["containers"][0]["readinessProbe"]["exec"]["command"][-1]

    def ends(probe, env, at):
        assert ":8080" in probe
        command = [python, "-c", probe.replace(":8080", f":{at}")]
        return subprocess.run(command, env=env, capture_output=True, check=False, timeout=60).returncode

    assert ends(alive, {}, port) == 0
    assert ends(alive, {}, 9) == 1
    assert ends(ready, environment, port) == 0
    assert ends(ready, environment | {"PREFECT_ML_SERVE_TOKEN": "another"}, port) == 1


def test_names_are_never_options():
    context = Context(Path("/context"), "3.12", "models:/-x@--privileged", "sha256:0")
    assert build_command("docker", context, "churn:3") == [
        *("docker", "build"),
        *("--label", "prefect-ml.model-uri=models:/-x@--privileged"),
        *("--label", "prefect-ml.digest=sha256:0"),
        *("--tag", "churn:3", "--", "/context"),
    ]
    for tag in ("--privileged", "churn", "churn:latest", "churn:3;id", "churn:3 -f x", "$(id):3", "churn:3\n"):
        with pytest.raises(InvalidInputError):
            build_command("docker", context, tag)
    for python, uv in (("3.12\nRUN id", "1.0"), ("3.12", "1.0 && id"), ("", "1.0")):
        with pytest.raises(InvalidInputError, match="is no version"):
            dockerfile(python=python, uv=uv)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--index-url https://evil.example", "cannot be locked"),
        ("-r /etc/passwd", "cannot be locked"),
        ("numpy @ https://evil.example/numpy.whl", "comes from a place of its own"),
        ("git+https://evil.example/x", "cannot be locked"),
        ("../../etc/x.whl", "artifact name"),
        ("/etc/x.whl", "artifact name"),
        ("code/x.whl", "does not have it"),
    ],
)
def test_what_a_model_asks_for_comes_from_the_index_alone(line, said, tmp_path):
    (tmp_path / "requirements.txt").write_text(f"numpy==2.1.0\n{line}\n")
    with pytest.raises((InvalidInputError, NotFoundError), match=said):
        needs_of(tmp_path, tmp_path)


def test_a_wheel_that_the_model_carries_goes_along_and_mlflow_does_not(tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own-1-py3-none-any.whl").write_bytes(b"wheel")
    (tmp_path / "requirements.txt").write_text(
        "# pins\nmlflow==2.9\nnumpy==2.1.0 # exact\n./code/own-1-py3-none-any.whl\n"
    )
    assert needs_of(tmp_path, tmp_path / "wheels") == ["numpy==2.1.0", "./wheels/own-1-py3-none-any.whl"]
    assert (tmp_path / "wheels" / "own-1-py3-none-any.whl").read_bytes() == b"wheel"


def test_nothing_is_overwritten_and_nothing_half_is_left(model, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    store = open_store()
    with pytest.raises(InvalidInputError, match="is there already"):
        write_context(store, str(model), taken, Settings())
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "requirements.txt").unlink()
    with pytest.raises(NotFoundError, match=r"keeps no requirements.txt"):
        write_context(store, str(bare), tmp_path / "out", Settings())
    with pytest.raises(InvalidInputError, match="no wheel of prefect-ml"):
        write_context(store, str(model), tmp_path / "out", Settings(), wheel=tmp_path / "other-1-py3-none-any.whl")
    store.close()
    assert {path.name for path in tmp_path.iterdir()} <= {"taken", "bare", "prefect-ml"}
