"""Values are checked and brought into their type before anything starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.projects.definition import EntryPoint, Parameter
from prefect_ml.projects.key import key_of
from prefect_ml.projects.parameters import resolve_parameters
from prefect_ml.projects.request import Request


def entry(**types):
    return EntryPoint("main", "x", {name: Parameter(name, *about) for name, about in types.items()})


def test_each_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").touch()
    project = tmp_path / "project"
    project.mkdir()
    (project / "own.csv").touch()
    point = entry(
        s=("string",), f=("float",), i=("int",), p=("path",), d=("path", "own.csv"), u=("uri",), w=("uri", "s3://b/k")
    )
    found = resolve_parameters(
        point, {"s": 3, "f": "1e-3", "i": " 7 ", "p": "here.csv", "u": "out", "extra": True}, folder=project
    )
    assert found == {
        "s": "3", "f": "1e-3", "i": "7", "p": str(tmp_path / "here.csv"), "d": str(project / "own.csv"),
        "u": str(project / "out"), "w": "s3://b/k", "extra": "true",
    }  # fmt: skip


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    point = entry(a=("float",), b=("int",), c=("string",))
    with pytest.raises(InvalidInputError, match=r"give c; '--x' is no name"):
        resolve_parameters(point, {"a": 1, "b": 2, "--x": 1}, folder=tmp_path)
    with pytest.raises(InvalidInputError, match=r"a must be a number.*b must be a whole number"):
        resolve_parameters(point, {"a": "x", "b": "1.5", "c": ""}, folder=tmp_path)


@pytest.mark.parametrize("value", ["nan", "NaN", "", "1,5", [1], {"a": 1}])
def test_what_is_no_number(value, tmp_path):
    with pytest.raises(InvalidInputError):
        resolve_parameters(entry(a=("float",)), {"a": value}, folder=tmp_path)


@pytest.mark.parametrize("value", ["a\0b", "x" * 200_000, "\ud800"])
def test_what_no_command_can_take(value, tmp_path):
    with pytest.raises(InvalidInputError):
        resolve_parameters(entry(), {"a": value}, folder=tmp_path)


@pytest.mark.parametrize("value", ["none.csv", "x" * 400])
def test_a_path_must_be_there(value, tmp_path):
    with pytest.raises(NotFoundError, match=value[:20]):
        resolve_parameters(entry(a=("path",)), {"a": value}, folder=tmp_path)


@pytest.mark.parametrize("kind", ["path", "uri"])
@pytest.mark.parametrize("value", ["https://ann:hunter2@example.org/x.csv", "postgresql+psycopg://ann:hunter2@db/x"])
def test_a_url_with_a_password_is_no_parameter_since_those_are_shown(kind, value, tmp_path):
    with pytest.raises(InvalidInputError, match="as a secret") as caught:
        resolve_parameters(entry(a=(kind,)), {"a": value}, folder=tmp_path)
    assert "hunter2" not in str(caught.value)
    fine = "https://example.org/x.csv?at=12:30@home"
    assert resolve_parameters(entry(a=(kind,)), {"a": fine}, folder=tmp_path) == {"a": fine}


@pytest.mark.parametrize("kind", ["path", "uri"])
def test_the_home_of_nobody_is_none(kind, tmp_path):
    with pytest.raises(InvalidInputError, match="whose home nobody knows"):
        resolve_parameters(entry(a=(kind,)), {"a": "~nobody-has-this-name/x"}, folder=tmp_path)


@given(st.integers())
def test_whole_numbers_pass(value):
    assert resolve_parameters(entry(a=("int",)), {"a": str(value)}, folder=None) == {"a": str(value)}


def test_the_key_of_a_step_changes_with_what_is_in_the_folder_that_it_reads(tmp_path):
    project, data = tmp_path / "project", tmp_path / "data"
    (data / "2026").mkdir(parents=True)
    project.mkdir()
    (data / "2026" / "a.csv").write_text("1")
    (project / "MLproject").write_text("{entry_points: {main: {parameters: {data: path}, command: 'python x {data}'}}}")
    request = Request(str(project), parameters={"data": str(data)})
    key = key_of(request)
    assert key_of(request) == key
    (data / "2026" / "a.csv").write_text("2")
    changed = key_of(request)
    (data / "2026" / "a.csv").rename(data / "2026" / "b.csv")
    renamed = key_of(request)
    moved = Request(str(project), parameters={"data": str(data.rename(tmp_path / "elsewhere"))})
    assert len({key, changed, renamed}) == 3
    assert key_of(moved) == renamed
