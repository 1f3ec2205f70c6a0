"""PyTorch models: graphs and weights load from anywhere, pickles and built modules only where that is trusted."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from deep import need
from prefect_ml.errors import ArtifactError, InvalidInputError, SignatureError, UntrustedModelError
from prefect_ml.models.flavors import torch_program
from prefect_ml.models.flavors.torch_program import unsafe_part
from prefect_ml.models.flavors.torch_state import TorchState
from prefect_ml.models.folder import load_model, save_model

torch = need("torch")
need("safetensors")
ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


class Net(torch.nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.Dropout(), torch.nn.Linear(hidden, 2)
        )

    def forward(self, x):
        return torch.softmax(self.layers(x), 1)


class Branching(Net):
    def forward(self, x):
        return self.layers(x) if float(x.sum()) > 0 else self.layers(-x)


def build(hidden):
    return Net(hidden)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def wanted(net):
    with torch.no_grad():
        return net(torch.from_numpy(ROWS)).numpy()


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch") / "m"
    save_model(net.train(), folder, input_example=ROWS[:1])
    assert all(module.training for module in net.modules())
    net.eval()
    return folder


def test_a_graph_loads_from_anywhere_and_takes_batches_of_every_size(exported, wanted):
    loaded = load_model(exported, origin="of a stranger")
    assert loaded.flavor.name == "pytorch"
    for rows in (5, 1, 3):
        assert np.allclose(loaded.predict(ROWS[:rows]), wanted[:rows], atol=1e-6)
    assert loaded.signature.inputs[0].shape == (-1, 4)
    with pytest.raises(SignatureError):
        loaded.predict(ROWS[:, :3])


def test_frames_in_and_out(net, wanted, tmp_path):
    frame = pd.DataFrame(ROWS.astype(float), columns=list("abcd"), index=list("vwxyz"))
    save_model(net, tmp_path / "m", input_example=frame[:2])
    found = load_model(tmp_path / "m", origin="x").predict(frame)
    assert list(found.index) == list("vwxyz")
    assert np.allclose(found.to_numpy(), wanted, atol=1e-6)


class Two(torch.nn.Module):
    def forward(self, left, right):
        return {"sum": left + right, "whole": right.long()}


def test_several_inputs_by_name_and_several_outputs(tmp_path):
    pair = {"left": ROWS, "right": 2 * ROWS}
    save_model(Two(), tmp_path / "m", input_example=pair)
    found = load_model(tmp_path / "m", origin="x").predict({"right": ROWS[:2], "left": ROWS[:2]})
    assert np.allclose(found["sum"], 2 * ROWS[:2])
    assert found["whole"].dtype == np.int64


def test_what_cannot_be_a_graph_says_why_and_what_else_there_is(tmp_path):
    with pytest.raises(InvalidInputError, match=r"cannot be exported .*allow_pickle=True"):
        save_model(Branching(), tmp_path / "m", input_example=ROWS)
    assert list(tmp_path.iterdir()) == []


def test_a_pickled_module_needs_trust(tmp_path):
    model = Branching().eval()
    save_model(model, tmp_path / "m", input_example=ROWS, allow_pickle=True)
    with pytest.raises(UntrustedModelError, match=r"model\.pth"):
        load_model(tmp_path / "m", origin="x")
    found = load_model(tmp_path / "m", origin="x", trusted_origins=["x"]).predict(ROWS)
    assert np.allclose(found, model(torch.from_numpy(ROWS)).detach().numpy())


def test_weights_alone_go_into_a_module_that_the_user_builds(net, wanted, tmp_path):
    save_model(net, tmp_path / "m")
    assert (tmp_path / "m/data/model.safetensors").is_file()
    loaded = load_model(tmp_path / "m", origin="x")
    with pytest.raises(InvalidInputError, match="load_into"):
        loaded.predict(ROWS)
    with pytest.raises(InvalidInputError, match="do not fit"):
        loaded.native.load_into(Net(3))
    mine = loaded.native.load_into(Net())
    assert np.allclose(mine(torch.from_numpy(ROWS)).detach().numpy(), wanted)


def test_who_builds_the_module_is_called_for_a_trusted_model_alone(net, wanted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nets_of_mine", sys.modules[__name__])
    state = TorchState(net, "nets_of_mine:build", {"hidden": 8})
    save_model(state, tmp_path / "m", input_example=ROWS)
    assert isinstance(load_model(tmp_path / "m", origin="x").native, TorchState)
    assert np.allclose(load_model(tmp_path / "m", origin="x", trusted_origins=["x"]).predict(ROWS), wanted)


@pytest.mark.parametrize(
    ("weights", "build", "arguments", "said"),
    [
        ({"a": 1}, None, {}, "no tensor"),
        ({}, "os.system('x'):y", {}, "module:name"),
        ({}, "a:b", {"x": {1}}, "JSON"),
    ],
)
def test_weights_of_another_form_are_refused(tmp_path, weights, build, arguments, said):
    with pytest.raises(InvalidInputError, match=said):
        save_model(TorchState(weights, build, arguments), tmp_path / "m")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_that_mlflow_saved_opens_where_it_is_trusted(net, wanted, tmp_path):
    (tmp_path / "m/data").mkdir(parents=True)
    torch.jit.trace(net, torch.from_numpy(ROWS)).save(tmp_path / "m/data/model.pth")
    (tmp_path / "m/data/pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")
    (tmp_path / "m/MLmodel").write_text("flavors: {pytorch: {model_data: data, pytorch_version: 2.9.1}}")
    with pytest.raises(UntrustedModelError):
        load_model(tmp_path / "m", origin="x")
    found = load_model(tmp_path / "m", origin="x", trusted_origins=["x"]).predict(ROWS)
    assert np.allclose(found, wanted, atol=1e-6)


def rewritten(source, target, change):
    """A copy of a graph's archive whose records went through `change(name, bytes)`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(name.partition("/")[2], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def unchanged(_name, data):
    return data


def in_json(record, change):
    def changed(name, data):
        if name != record:
            return data
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return changed


def first_node(content):
    return content["graph_module"]["graph"]["nodes"][0]


def first_size(content):
    sizes = content["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
    return next(size["as_expr"] for size in sizes if "as_expr" in size)


def attacks(bomb, trace):
    call = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    buffer = io.BytesIO()
    torch.save(bomb, buffer)
    pickled = buffer.getvalue()
    graph, weights = "models/model.json", "data/weights/model_weights_config.json"
    constants = "data/constants/model_constants_config.json"

    def pickle_a_weight(content):
        next(iter(content["config"].values()))["use_pickle"] = True

    def opaque(content):
        content["config"]["c"] = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}

    def weights_and(change, name, data):
        def both(record, old):
            return data if record == name else change(record, old)

        return both

    return {
        "a guard": in_json(graph, lambda c: c.update(guards_code=[call])),
        "a size": in_json(graph, lambda c: first_size(c).update(expr_str=call)),
        "an operator": in_json(
            graph,
            lambda c: first_node(c).update(
                target="torch.os.system",
                inputs=[{"name": "command", "arg": {"as_string": f"touch {trace}"}, "kind": 1}],
            ),
        ),
        "an operator that opens files": in_json(
            graph, lambda c: first_node(c).update(target="torch.ops.aten.from_file.default")
        ),
        "a container that imports": in_json(
            graph,
            lambda c: c["graph_module"]["module_call_graph"][0]["signature"].update(
                in_spec=json.dumps([1, {"type": "collections.defaultdict", "context": "[]", "children_spec": []}])
            ),
        ),
        "a name with code in it": in_json(
            graph,
            lambda c: c["graph_module"]["graph"]["inputs"][0]["as_tensor"].update(name=f"x={call}"),
        ),
        "a weight that is pickled": weights_and(in_json(weights, pickle_a_weight), "data/weights/weight_0", pickled),
        "a constant that is an object": in_json(constants, opaque),
        "pickled sample inputs": lambda n, d: pickled if n == "data/sample_inputs/model.pt" else d,
        "sample inputs of the old kind": lambda n, d: pickle.dumps(bomb) if n == "data/sample_inputs/model.pt" else d,
        "weights of the old kind": unchanged,
        "compiled code": unchanged,
    }


EXTRA = {"weights of the old kind": "data/weights/model.pt", "compiled code": "data/aotinductor/model/m.so"}


@pytest.mark.parametrize("attack", list(attacks(None, "t")))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_graph_with_code_in_it_needs_trust(exported, bomb, tmp_path, attack):
    (tmp_path / "m/data").mkdir(parents=True)
    source = exported / "data/model.pt2"
    target = tmp_path / "m/data/model.pt2"
    rewritten(source, target, attacks(bomb, tmp_path / "exploded")[attack])
    if attack in EXTRA:
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(f"model/{EXTRA[attack]}", b"\x80\x04N.")
    (tmp_path / "m/MLmodel").write_bytes((exported / "MLmodel").read_bytes())
    with pytest.raises((UntrustedModelError, ArtifactError)) as caught:
        load_model(tmp_path / "m", origin="x", trusted_origins=["y"])
    assert isinstance(caught.value, UntrustedModelError), caught.value
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("attack", ["a guard", "a size", "pickled sample inputs", "a weight that is pickled"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torch_itself_would_have_run_it(exported, bomb, tmp_path, attack):
    target = rewritten(exported / "data/model.pt2", tmp_path / "m.pt2", attacks(bomb, tmp_path / "exploded")[attack])
    with contextlib.suppress(Exception):  # torch may fail once the bomb is off
        torch.export.load(target).module()(torch.from_numpy(ROWS))
    assert (tmp_path / "exploded").exists()


def places(value, path=()):
    """Each text in JSON, the names of entries as well, by the way to it."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield (*path, ("name", name))
            yield from places(each, (*path, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from places(each, (*path, number))
    elif isinstance(value, str):
        yield path


def put(content, path, text):
    *way, last = path
    for step in way:
        content = content[step]
    if isinstance(last, tuple):
        content[text] = content.pop(last[1])
    else:
        content[last] = text


def test_code_in_any_place_of_a_graph_is_seen(exported, tmp_path):
    """Wherever a text stands, one that is code needs trust; but for what tells of a node, which torch does not run."""
    code = f"__import__('pathlib').Path({str(tmp_path / 'exploded')!r}).touch()"
    with zipfile.ZipFile(exported / "data/model.pt2") as archive:
        name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
        text = archive.read(name)
    found = list(places(json.loads(text)))
    assert len(found) > 100
    about = [path for path in found if "metadata" in path and not isinstance(path[-1], tuple)]
    for path in found:
        content = json.loads(text)
        put(content, path, code)
        if path in about:
            torch_program._graph(content)
            continue
        with pytest.raises((torch_program._UnknownError, ValueError)):  # either is told as unsafe
            torch_program._graph(content)
    everywhere = in_json("models/model.json", lambda content: [put(content, path, code) for path in about])
    with contextlib.suppress(Exception):  # torch may miss what it expected there
        torch.export.load(rewritten(exported / "data/model.pt2", tmp_path / "m.pt2", everywhere)).module()(
            torch.from_numpy(ROWS)
        )
    assert not (tmp_path / "exploded").exists()


def test_the_scanner_finds_nothing_dangerous_in_a_graph(exported):
    from prefect_ml.models.pickle_files import scan_folder
    from prefect_ml.registry.scan_gate import SAFE

    found = scan_folder(exported)
    assert found.unread == {}
    assert {each.what for each in found.imports} <= SAFE


def test_writing_an_archive_anew_is_no_attack(exported, tmp_path):
    assert unsafe_part(rewritten(exported / "data/model.pt2", tmp_path / "m.pt2", unchanged)) is None


def test_archives_that_readers_see_differently_need_trust(exported, tmp_path):
    target = tmp_path / "m.pt2"
    target.write_bytes((exported / "data/model.pt2").read_bytes())
    with zipfile.ZipFile(target) as archive:
        name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
    with zipfile.ZipFile(target, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, "{}")
    assert unsafe_part(target) is not None
    target.write_bytes(b"PK\x03\x04 and nothing more")
    assert "cannot be looked through" in unsafe_part(target)


class Large(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(30, 8)
        self.encoder = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.over = torch.nn.LSTM(8, 6, batch_first=True)
        self.along = torch.nn.Conv1d(8, 4, 3, padding="same")

    def forward(self, x):
        hidden = self.encoder(self.words(x))
        outputs, _ = self.over(hidden)
        mixed = torch.einsum("bij,jk->bik", hidden, torch.eye(8))
        return torch.cat([outputs.mean(1), self.along(mixed.transpose(1, 2)).mean(2)], 1)


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_attention_recurrence_and_convolutions_are_known_to_be_safe(tmp_path):
    words = np.random.default_rng(1).integers(0, 30, (3, 7))
    model = Large().eval()
    save_model(model, tmp_path / "m", input_example=words)
    found = load_model(tmp_path / "m", origin="x").predict(words[:2])
    assert np.allclose(found, model(torch.from_numpy(words[:2])).detach().numpy(), atol=1e-5)


def test_damaged_weights_are_an_error_of_ours(net, tmp_path):
    save_model(net, tmp_path / "m")
    (tmp_path / "m/data/model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ArtifactError, match="damaged"):
        load_model(tmp_path / "m", origin="x")
    (tmp_path / "m/data/model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_model(tmp_path / "m", origin="x")
