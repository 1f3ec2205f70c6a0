"""Functions, objects and code as models: hints give the signature, and no two models share a module."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd
import pytest
import yaml
from pydantic import BaseModel

from prefect_ml.errors import ArtifactError, InvalidInputError, SignatureError, UntrustedModelError
from prefect_ml.models import set_model
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.models.private_modules import PrivateModules
from prefect_ml.models.trust import Trust


class Row(BaseModel):
    tenure: int
    price: float = 1.0


@dataclass
class Answer:
    churn: bool


def judge(rows: list[Row]) -> list[float]:
    return [row.tenure * row.price for row in rows]


def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


class Scaled:
    factor = 1

    def load_context(self, context):
        self.factor = 10 if (context.folder / "MLmodel").name else 0

    def predict(self, data: list[float], params=None) -> list[float]:
        return [value * self.factor + (params or {}).get("plus", 0) for value in data]


def opened(folder):
    return load_model(folder, origin="x", trusted_origins=["x"])


def by_mlflow(folder, data):
    import mlflow

    return mlflow.pyfunc.load_model(str(folder)).predict(data)


@pytest.mark.filterwarnings("ignore")
def test_a_functions_hints_are_its_signature(tmp_path):
    info = save_model(judge, tmp_path / "m")
    assert [(column.name, column.type, column.required) for column in info.signature.inputs] == [
        ("tenure", "long", True),
        ("price", "double", False),
    ]
    model = opened(tmp_path / "m")
    frame = pd.DataFrame({"price": [2.0, 3.0], "tenure": [1, 2]})
    assert model.predict(frame) == by_mlflow(tmp_path / "m", frame) == [2.0, 6.0]
    assert model.predict([{"tenure": 4}]) == [4.0]
    with pytest.raises(SignatureError, match="tenure"):
        model.predict([{"price": 2.0}])


@pytest.mark.filterwarnings("ignore")
def test_hints_of_plain_values(tmp_path):
    save_model(lengths, tmp_path / "m")
    assert opened(tmp_path / "m").predict(["a", "bcd"]) == [1, 3]
    assert list(by_mlflow(tmp_path / "m", ["a", "bcd"])) == [1, 3]


def test_hints_that_no_signature_can_name_are_an_error(tmp_path):
    def odd(rows: list[complex]) -> int:
        return len(rows)

    with pytest.raises(SignatureError, match="hint"):
        save_model(odd, tmp_path / "m")


@pytest.mark.filterwarnings("ignore")
def test_an_object_is_set_up_once_and_takes_params(tmp_path):
    from prefect_ml.models.signature import Signature

    signature = Signature.infer([1.0], [1.0], {"plus": 0.0})
    save_model(Scaled(), tmp_path / "m", signature=signature, input_example=[1.0])
    assert opened(tmp_path / "m").predict([1.0, 2.0], {"plus": 5.0}) == [15.0, 25.0]
    assert list(by_mlflow(tmp_path / "m", [1.0, 2.0])) == [10.0, 20.0]


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/', 1)}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def code(folder, value):
    """A model that uses a module and a package of its own, at once and later, by every form of import."""
    return write(
        folder,
        features=f"""
            from __future__ import annotations
            import dataclasses

            @dataclasses.dataclass
            class Value:
                number: int = {value}
        """,
        parts____init__="from .inner import TWICE\nfrom . import other",
        parts__inner="import features\nTWICE = 2 * features.Value().number",
        parts__other="from features import *\nNUMBER = Value().number",
        model="""
            import json, os.path
            import parts.inner as inner
            from parts import TWICE, other

            def predict(values: list[int]) -> list[int]:
                import features
                import parts.late
                assert TWICE == inner.TWICE == 2 * other.NUMBER
                return [value + features.Value().number + parts.late.ZERO for value in values]
        """,
        parts__late="ZERO = 0",
    )


@pytest.mark.filterwarnings("ignore")
def test_two_folders_of_code_with_the_same_names_do_not_clash(tmp_path):
    for value in (1, 2):
        info = save_model(code(tmp_path / f"source{value}", value), tmp_path / f"m{value}", input_example=[1])
        assert info.signature.inputs[0].type == "long"
    before = set(sys.modules)
    models = [opened(tmp_path / f"m{value}") for value in (1, 2)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: models[number % 2].predict([10]), range(40)))
    assert found == [[11], [12]] * 20
    assert not {name for name in set(sys.modules) - before if "features" in name or "parts" in name}
    assert not [path for path in sys.path if str(tmp_path) in path]
    assert not list((tmp_path / "m1").rglob("*.pyc"))
    assert list(by_mlflow(tmp_path / "m2", [10])) == [12]


IN_PACKAGE = """
import importlib
import importlib.metadata
import importlib.resources as res
import importlib.util
from importlib import import_module, resources
from importlib.resources import files


def told():
    by_name = import_module("boxes.size").SIZE
    near = importlib.import_module(".size", __package__).SIZE
    texts = [files(__package__), files("boxes"), res.files(anchor="boxes") if NEW else resources.files("boxes")]
    texts.append(files() if NEW else files(import_module("boxes")))
    assert importlib.util.find_spec("json") and importlib.metadata.version("numpy") and import_module("json").dumps
    return [by_name, near, *(float(text.joinpath("size.txt").read_text()) for text in texts)]
"""


def test_a_package_finds_its_modules_by_importlib_and_its_data_by_resources(tmp_path):
    package = tmp_path / "code" / "boxes"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"NEW = {sys.version_info >= (3, 12)}\n{IN_PACKAGE}")
    (package / "size.py").write_text("SIZE = 2.0\n")
    (package / "size.txt").write_text("2.0")
    (tmp_path / "code" / "model.py").write_text(
        "def predict(data):\n    import boxes\n    return [v * x for v in data for x in boxes.told()]\n"
    )
    save_model(tmp_path / "code", tmp_path / "m", input_example=[1.0])
    assert opened(tmp_path / "m").predict([3.0]) == [6.0] * 6
    assert not [name for name in sys.modules if name.startswith("boxes")]


@pytest.mark.filterwarnings("ignore")
def test_a_script_takes_the_modules_beside_it_along(tmp_path):
    write(
        tmp_path / "source",
        script="from prefect_ml.models import set_model\nimport near\nset_model(near.Model())",
        near="""
            import yaml

            class Model:
                def predict(self, data: list[str]) -> list[str]:
                    return [str(yaml.safe_load(text)) for text in data]
        """,
        far="raise RuntimeError",
    )
    save_model(str(tmp_path / "source/script.py"), tmp_path / "m", input_example=["[1]"])
    assert {"script.py", "near.py"} == {path.name for path in (tmp_path / "m/code").glob("[!p]*.py")}
    assert "PyYAML" in (tmp_path / "m/requirements.txt").read_text()
    assert opened(tmp_path / "m").predict(["[2]", "x"]) == ["[2]", "x"]
    assert list(by_mlflow(tmp_path / "m", ["[2]", "x"])) == ["[2]", "x"]


@pytest.mark.filterwarnings("ignore")
def test_a_script_for_mlflow_is_a_script_for_us(tmp_path):
    script = write(
        tmp_path,
        script="""
            import mlflow

            class Model(mlflow.pyfunc.PythonModel):
                def predict(self, context, model_input, params=None):
                    return [value * 3 for value in model_input[0]]

            mlflow.models.set_model(Model())
        """,
    )
    save_model(script / "script.py", tmp_path / "m")
    assert list(opened(tmp_path / "m").predict(pd.DataFrame({0: [1, 2]}))) == [3, 6]


def test_code_of_strangers_does_not_run(tmp_path):
    write(
        tmp_path / "source", model=f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\npredict = len"
    )
    save_model(tmp_path / "source", tmp_path / "m")
    (tmp_path / "ran").unlink()
    with pytest.raises(UntrustedModelError, match=r"model\.py"):
        load_model(tmp_path / "m", origin="x")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UntrustedModelError, match="source"):
        PrivateModules(Trust("x"), [tmp_path / "source"])
    assert opened(tmp_path / "m").predict([1, 2]) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "says no model"),
        ("import nothing_of_the_kind", "nothing_of_the_kind"),
        ("def predict(:", "no Python code"),
        ("from prefect_ml.models import set_model\nset_model(int)", "call the class"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_code_that_is_no_model_says_why(tmp_path, text, said):
    write(tmp_path / "source", model=text)
    with pytest.raises((InvalidInputError, ArtifactError), match=said):
        save_model(tmp_path / "source", tmp_path / "m")


def test_what_is_no_code_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"model\.py"):
        save_model(tmp_path / "empty", tmp_path / "m")
    with pytest.raises(InvalidInputError, match="no model"):
        save_model("text", tmp_path / "m")
    with pytest.raises(InvalidInputError, match="not a int"):
        set_model(3)
    set_model(len)


def test_links_and_caches_do_not_go_along(tmp_path):
    source = write(tmp_path / "source", model="def predict(x):\n    return x")
    (tmp_path / "secret").write_text("secret")
    (source / "link.py").symlink_to(tmp_path / "secret")
    (source / ".env").write_text("secret")
    (source / "__pycache__").mkdir()
    (source / "__pycache__/model.pyc").write_text("")
    save_model(source, tmp_path / "m")
    assert {path.name for path in (tmp_path / "m/code").iterdir()} == {"model.py", "prefect_ml_python_loader.py"}


def test_a_model_goes_away_with_its_modules(tmp_path):
    """What a hot swap leaves is freed."""
    script = f"""
        import gc, weakref
        from pathlib import Path
        from prefect_ml.models.folder import load_model
        model = load_model(Path({str(tmp_path / "m")!r}), origin="x", trusted_origins=["x"])
        model.predict([1])
        native = weakref.ref(model.native)
        del model
        gc.collect()
        print(native())
    """
    save_model(code(tmp_path / "source", 1), tmp_path / "m", input_example=[1])
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None", done.stderr


def test_a_signed_folder_stays_as_it_was_signed_when_its_code_is_imported(tmp_path):
    """A pickle that names a module of the folder: importing it leaves no bytecode behind."""
    from prefect_ml.models.keys import make_key
    from prefect_ml.models.signing import sign_folder

    public = make_key(tmp_path / "key.pem")
    (tmp_path / "m/code/steps_of_mine").mkdir(parents=True)
    (tmp_path / "m/code/steps_of_mine/__init__.py").write_text("from .inner import clip\n")
    (tmp_path / "m/code/steps_of_mine/inner.py").write_text("def clip(data):\n    return data.clip(0, 1)\n")
    (tmp_path / "m/model.pkl").write_bytes(b"csteps_of_mine\nclip\n.")
    conf = {"pickled_model": "model.pkl", "serialization_format": "pickle"}
    (tmp_path / "m/MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": conf}}))
    sign_folder(tmp_path / "m", tmp_path / "key.pem")
    for _ in range(2):
        model = load_model(tmp_path / "m", origin="x", trusted_signers=[public])
        assert model.native(pd.Series([-1, 3])).tolist() == [0, 1]
    assert not list((tmp_path / "m").rglob("*.pyc"))
