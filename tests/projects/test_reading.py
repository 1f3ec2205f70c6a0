"""What a project says of itself, in each of the files in which it may."""

from __future__ import annotations

from itertools import pairwise
from textwrap import dedent

import pytest

from prefect_ml.errors import InvalidInputError, InvalidNameError, NotFoundError
from prefect_ml.projects.conda import find_conda
from prefect_ml.projects.definition import CondaEnvironment, DockerEnvironment, Parameter, PythonEnvironment
from prefect_ml.projects.reading import read_project


@pytest.fixture
def write(tmp_path):
    def written(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return tmp_path

    return written


def test_an_mlproject_with_several_entry_points(write):
    folder = write(
        MLproject="""
            name: two steps
            python_env: env/python_env.yaml
            entry_points:
              prepare:
                command: "python prepare.py"
              main:
                parameters:
                  data: path
                  alpha: {type: float, default: 0.1}
                  seed: {default: 3}
                  out-dir: {type: uri, default: out}
                command: "python train.py {data} -a {alpha}"
        """,
        env__python_env_dot_yaml="""
            python: "3.11"
            build_dependencies: [pip]
            dependencies: ["-r requirements.txt", "numpy>=2 # a comment"]
        """,
        requirements_dot_txt="six==1.17.0 \\\n  --hash=sha256:" + "a" * 64 + "\n# nothing\n",
    )
    project = read_project(folder)
    assert project.name == "two steps"
    assert project.entry_point("main").parameters == {
        "data": Parameter("data", "path"),
        "alpha": Parameter("alpha", "float", 0.1),
        "seed": Parameter("seed", "string", 3),
        "out-dir": Parameter("out-dir", "uri", "out"),
    }
    environment = project.environment
    assert isinstance(environment, PythonEnvironment)
    assert environment.python == "3.11"
    assert [line.split(" ")[0] for line in environment.requirements] == ["six==1.17.0", "numpy>=2"]
    with pytest.raises(NotFoundError, match="main, prepare"):
        project.entry_point("other")


def test_conda_is_built_by_uv_where_it_asks_for_python_and_pip_alone(write):
    folder = write(
        MLproject="{name: c, conda_env: conda.yaml, entry_points: {main: {command: x}}}",
        conda_dot_yaml="""
            name: c
            channels: [conda-forge]
            dependencies: ["python=3.11.7", pip, "setuptools<80", {pip: ["six>=1", "scikit-learn"]}]
        """,
    )
    assert read_project(folder).environment == PythonEnvironment("3.11.7", ("six>=1", "scikit-learn"))
    (folder / "conda.yaml").write_text("dependencies: [python=3.11, cudatoolkit]")
    assert isinstance(read_project(folder).environment, CondaEnvironment)


def test_without_conda_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFoundError, match="python_env"):
        find_conda()


def test_docker(write):
    folder = write(
        MLproject="""
            name: d
            docker_env:
              image: team/train:1
              volumes: ["/data:/data:ro"]
              environment: [["A", "1"], HOME]
            entry_points: {main: {command: python train.py}}
        """
    )
    assert read_project(folder).environment == DockerEnvironment(
        "team/train:1", ("/data:/data:ro",), (("A", "1"), "HOME")
    )


def test_a_pyproject(write):
    folder = write(
        pyproject_dot_toml="""
            [project]
            name = "churn"
            requires-python = ">=3.11"
            dependencies = ["six"]

            [tool.prefect-ml.entry-points]
            prepare = "python prepare.py"

            [tool.prefect-ml.entry-points.main]
            command = "python train.py --depth {depth}"
            parameters = { depth = { type = "int", default = 3 } }
        """
    )
    project = read_project(folder)
    assert (project.name, sorted(project.entry_points)) == ("churn", ["main", "prepare"])
    assert project.environment == PythonEnvironment(">=3.11", ("six",))


def test_a_script_and_its_own_requirements(write):
    folder = write(
        sub__train_dot_py="""\
            # /// script
            # requires-python = ">=3.11"
            # dependencies = ["six==1.17.0"]
            # ///
            import six
        """,
        _dash_dot_sh="echo",
    )
    project = read_project(folder, "sub/train.py")
    assert project.entry_point("sub/train.py").command == ("python", "./sub/train.py")
    assert project.environment == PythonEnvironment(">=3.11", ("six==1.17.0",))
    with pytest.raises(NotFoundError, match="how to run 'main'"):
        read_project(folder)


@pytest.mark.parametrize(
    "name", ["../train.py", "{}/train.py", "a\nb.py", "train.txt", "-x.py/../../train.py", "link.py"]
)
def test_a_script_elsewhere_is_none(name, write, tmp_path):
    write(train_dot_py="print()")
    folder = write(project__x="1") / "project"
    (folder / "-x.py").mkdir()
    (folder / "link.py").symlink_to(tmp_path / "train.py")
    with pytest.raises(NotFoundError):
        read_project(folder, name.format(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "{python_env: ../e.yaml, entry_points: {main: {command: x}}}",
        "{conda_env: ../e.yaml, entry_points: {main: {command: x}}}",
        "{python_env: link.yaml, entry_points: {main: {command: x}}}",
        "{python_env: own.yaml, entry_points: {main: {command: x}}}",
    ],
)
def test_what_lies_outside_of_the_project_is_not_read(text, write, tmp_path):
    write(e_dot_yaml="dependencies: [six]", lines_dot_txt="six\n")
    folder = write(project__own_dot_yaml="dependencies: ['-r ../lines.txt']", project__MLproject=text) / "project"
    (folder / "link.yaml").symlink_to(tmp_path / "e.yaml")
    with pytest.raises(InvalidNameError):
        read_project(folder)


def test_yaml_makes_no_objects(write, tmp_path):
    folder = write(
        MLproject=f"""
        name: x
        entry_points: {{main: {{command: x}}}}
        bomb: !!python/object/apply:os.mkdir ["{tmp_path}/fired"]
    """
    )
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_project(folder)
    assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://evil.example", "-e .", "-e git+https://x/y", ".", "../x", "/x", "file:///x", "x @ file:///y",
        "x @ git+ext::sh", "$(touch x)", "-r ../../etc/passwd", "--find-links=.", "x --global-option=y",
        "x @ https://u:p@example.org/x.whl", "`x`", "x --hash=md5:1",
    ],
)  # fmt: skip
def test_a_requirement_that_is_none_is_refused(line, write):
    folder = write(MLproject="{name: x, python_env: e.yaml, entry_points: {main: {command: x}}}")
    (folder / "e.yaml").write_text(f"dependencies: [{line!r}]")
    with pytest.raises(InvalidInputError):
        read_project(folder)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "a: [", "entry_points: []", "entry_points: {main: {}}", "entry_points: {main: {command: 3}}",
        "entry_points: {main: {command: x, parameters: [a]}}",
        "{entry_points: {main: {command: x, parameters: {a: y}}}}",
        "{conda_env: a, python_env: b, entry_points: {main: {command: x}}}", "{docker_env: {image: --privileged}}",
        "{python_env: ../e.yaml}", "!!python/object/apply:os.system ['true']",
    ],
)  # fmt: skip
def test_an_mlproject_that_is_wrong_is_refused(text, write):
    with pytest.raises(InvalidInputError):
        read_project(write(MLproject=text))


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        # One letter each is a distribution of that name, which somebody has.
        ("pyproject.toml", '[project]\nname = "x"\ndependencies = "six"', "a list of requirements"),
        ("main.py", '# /// script\n# dependencies = "six"\n# ///\n', "a list of requirements"),
        ("main.py", '# /// script\n# requires-python = "3"\n# ///\n', "no range of versions"),
        ("pyproject.toml", '[tool.prefect-ml]\nentry-points = ["x"]', "must be a table"),
        ("pyproject.toml", "# " + "x" * (1 << 20), "longer than"),
        (
            "MLproject",
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdef"))
            + "name: *f\nentry_points: {main.py: {command: x}}",
            "more than 100000 values",
        ),
    ],
)  # fmt: skip
def test_what_a_file_cannot_mean_is_said_and_not_guessed(name, text, match, write):
    folder = write(x="")
    (folder / name).write_text(text)
    with pytest.raises(InvalidInputError, match=match):
        read_project(folder, "main.py")


def test_both_bounds_of_python_hold(write):
    folder = write(main_dot_py='# /// script\n# requires-python = ">=3.10, <3.12"\n# ///\n')
    assert read_project(folder, "main.py").environment == PythonEnvironment("<3.12,>=3.10")
