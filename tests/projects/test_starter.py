"""What `prefect-ml init` writes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from prefect_ml.errors import AlreadyExistsError, InvalidInputError
from prefect_ml.projects.reading import read_project
from prefect_ml.registry.policy import PromotionPolicy
from prefect_ml.starter import write_starter


def test_a_project_is_written_whole_and_says_what_it_is(tmp_path):
    folder = tmp_path / "churn"
    names = sorted(path.relative_to(folder).as_posix() for path in write_starter(folder, "churn", pool="gpu"))
    assert names == [
        ".env.example", ".gitignore", "README.md", "policy.yaml", "prefect.yaml", "pyproject.toml",
        "tests/test_train.py", "train.py",
    ]  # fmt: skip
    project = read_project(folder)
    assert (project.name, project.entry_point("main").parameters["alpha"].type) == ("churn", "float")
    assert PromotionPolicy.from_yaml((folder / "policy.yaml").read_text()).model_pattern == "churn"
    deployed = yaml.safe_load((folder / "prefect.yaml").read_text())["deployments"]
    assert [each["name"] for each in deployed] == ["train", "promote", "deploy", "serve"]
    assert {each["work_pool"]["name"] for each in deployed} == {"gpu"}
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(AlreadyExistsError, match=r"README\.md"):
        write_starter(folder, "churn")
    (folder / "README.md").unlink()
    with pytest.raises(AlreadyExistsError, match="would be overwritten"):
        write_starter(folder, "other")
    assert not (folder / "README.md").exists()
    assert all(path.read_bytes() == text for path, text in before.items() if path.name != "README.md")


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "a/b", "-a", "a-", "a\n", "{{7*7}}", "a" * 65, "1a", "é"])
def test_a_name_that_would_be_more_than_a_name_is_refused(name, tmp_path):
    with pytest.raises(InvalidInputError):
        write_starter(tmp_path / "x", name)
    with pytest.raises(InvalidInputError):
        write_starter(tmp_path / "x", "a", pool=name)
    assert not (tmp_path / "x").exists()


@pytest.mark.long
def test_its_own_tests_pass(tmp_path):
    write_starter(tmp_path, "churn")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr
