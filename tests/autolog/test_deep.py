"""Lightning and Keras: what their callbacks record, and that training is as it was.

The libraries are large and in a group of their own. Where they are missing these tests are skipped, and fail when
PREFECT_ML_REQUIRE_ALL=1 says that nothing may be missing.
"""

# ruff: noqa: ARG002, PLR0917 - hyperparameters are saved from the arguments; tests take fixtures by position

from __future__ import annotations

import importlib
import inspect
import os
import pickle

import numpy as np
import pytest

import prefect_ml as ml
from prefect_ml.artifacts import open_artifacts
from prefect_ml.tracking import autolog
from prefect_ml.tracking.autolog.fit import TAG

# Libraries warn of each other, and torch of the machine.
pytestmark = pytest.mark.filterwarnings("ignore")
os.environ["KERAS_BACKEND"] = "torch"


def need(name):
    """The module; skips where it is missing, and fails where nothing may be."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed; install the group `deep` (uv sync --group deep)"
        if os.environ.get("PREFECT_ML_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)


def curve(run, key):
    """Values by step; every step once."""
    points = ml.get_metric_history(run.run_id, key)
    assert len({point.step for point in points}) == len(points)
    return {point.step: point.value for point in points}


@pytest.fixture(scope="module")
def torch():
    return need("torch")


@pytest.fixture(scope="module", params=["lightning.pytorch", "pytorch_lightning"])
def pl(request):
    return need(request.param)


@pytest.fixture(scope="module")
def line(torch):
    """Points of a line, for training and for validation."""
    x = torch.linspace(0, 1, 32).unsqueeze(1)
    data = torch.utils.data.TensorDataset(x, 3 * x + 1)
    return torch.utils.data.DataLoader(data, batch_size=8), torch.utils.data.DataLoader(data, batch_size=32)


@pytest.fixture(scope="module")
def module(torch, pl):
    class Line(pl.LightningModule):
        def __init__(self, lr=0.1, fail=False):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(1, 1)
            self.losses = []

        def loss(self, batch):
            return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

        def training_step(self, batch, _):
            if self.hparams.fail:
                raise ArithmeticError("no such step")
            loss = self.loss(batch)
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch, _):
            self.log("val_loss", self.loss(batch))

        def on_validation_epoch_end(self):
            if not self.trainer.sanity_checking:
                self.losses.append(float(self.trainer.callback_metrics["val_loss"]))

        def on_train_epoch_end(self):
            self.log("late", float(self.current_epoch))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.5)

    return Line


@pytest.fixture
def trainer(pl, tmp_path):
    def make(**options):
        return pl.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=str(tmp_path), **options,
        )  # fmt: skip

    return make


def test_lightning(begin, stored, trainer, module, line):
    model, own = module(), trainer(max_epochs=4)
    before = list(own.callbacks)
    autolog.enable(["lightning"])
    with begin() as run:
        assert own.fit(model, *line) is None
    found = stored(run)
    assert curve(run, "val_loss") == pytest.approx(dict(enumerate(model.losses)))
    assert list(curve(run, "train_loss_epoch")) == [0, 1, 2, 3]
    assert curve(run, "late") == {0: 0, 1: 1, 2: 2, 3: 3}
    assert "train_loss_step" not in found.metrics
    expected = {"max_epochs": "4", "optimizer": "SGD", "lr": "0.1", "momentum": "0.5", "batch_size": "8"}
    assert expected.items() <= found.params.items()
    assert (found.params["number_of_params"], found.params["fail"]) == ("2", "False")
    assert (found.metrics["epochs"], found.tags["model_name"]) == (4, "Line")
    assert own.callbacks == before
    assert found.tags[TAG].startswith("lightning: ")


def test_lightning_validates_now_and_then(begin, trainer, module, line):
    model = module()
    autolog.enable(["lightning"])
    with begin() as run:
        trainer(max_epochs=5, check_val_every_n_epoch=2, enable_checkpointing=False).fit(model, *line)
    assert curve(run, "val_loss") == pytest.approx(dict(zip([1, 3], model.losses, strict=True)))


def test_lightning_stops_early(begin, stored, pl, trainer, module, line):
    stopping = pl.callbacks.EarlyStopping("val_loss", patience=1, min_delta=10)
    autolog.enable(["lightning"])
    with begin() as run:
        trainer(max_epochs=50, callbacks=[stopping]).fit(module(), *line)
    found = stored(run)
    assert (found.params["early_stopping_monitor"], found.params["early_stopping_patience"]) == ("val_loss", "1")
    assert found.metrics["early_stopping_stopped_epoch"] == stopping.stopped_epoch > 0
    assert found.metrics["early_stopping_best_score"] == pytest.approx(float(stopping.best_score))
    assert found.metrics["epochs"] == stopping.stopped_epoch + 1


def test_lightning_keeps_weights_or_says_where_the_checkpoint_is(begin, stored, torch, trainer, module, line):
    model, own = module(), trainer(max_epochs=1)
    autolog.enable(["lightning"])
    with begin() as run:
        own.fit(model, *line)
    found = stored(run)
    if importlib.util.find_spec("safetensors") is None:
        assert found.tags["checkpoint"] == own.checkpoint_callback.best_model_path
        assert "install safetensors" in found.tags[TAG]
        return
    data = open_artifacts(found.artifact_uri).read("model.safetensors")
    weights = importlib.import_module("safetensors.torch").load(data)
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_lightning_raises_what_training_raises(begin, stored, trainer, module, line):
    own = trainer(max_epochs=1)
    before = list(own.callbacks)
    autolog.enable(["lightning"])
    with begin() as run, pytest.raises(ArithmeticError, match="no such step"):
        own.fit(module(fail=True), *line)
    assert "the fit raised ArithmeticError" in stored(run).tags[TAG]
    assert own.callbacks == before


def test_lightning_is_silent_outside_of_runs_and_after_disable(begin, stored, pl, trainer, module, line):
    original = pl.Trainer.fit
    autolog.enable(["lightning"])
    assert inspect.signature(pl.Trainer.fit) == inspect.signature(original)
    own = trainer(max_epochs=1, enable_checkpointing=False)
    own.fit(module(), *line)
    autolog.disable()
    assert pl.Trainer.fit is original
    with begin() as run:
        trainer(max_epochs=1, enable_checkpointing=False).fit(module(), *line)
    assert TAG not in stored(run).tags


def test_lightnings_callback_travels_to_processes(begin, pl):
    from prefect_ml.tracking.autolog.fit import Fit
    from prefect_ml.tracking.autolog.lightning import recorder

    with begin() as run:
        again = pickle.loads(pickle.dumps(recorder(pl.__name__, Fit(run, "lightning", "x/"))))  # noqa: S301 - made here
    assert isinstance(again, pl.Callback)
    assert (again._fit.run, again._fit.prefix) == (run, "x/")


@pytest.fixture(scope="module")
def keras(torch):
    assert torch
    return need("keras")


@pytest.fixture(scope="module")
def points():
    x = np.linspace(0, 1, 64, dtype="float32").reshape(-1, 1)
    return x, 3 * x + 1


@pytest.fixture
def net(keras):
    def make(lr=0.05):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(lr), loss="mse", metrics=["mae"])
        return model

    return make


def test_keras(begin, stored, inputs, keras, net, points, tmp_path):
    model = net()
    autolog.enable(["keras"])
    with begin() as run:
        history = model.fit(*points, batch_size=16, epochs=3, validation_split=0.25, verbose=0)
        net().fit(*points, verbose=0, validation_data=(points[0][:8], points[1][:8]))
    found = stored(run)
    assert set(history.history) == {"loss", "mae", "val_loss", "val_mae"}
    for name, values in history.history.items():
        assert curve(run, name) == pytest.approx(dict(enumerate(values)))
    expected = {"epochs": "3", "batch_size": "16", "validation_split": "0.25", "optimizer": "SGD", "loss": "mse"}
    assert expected.items() <= found.params.items()
    assert float(found.params["learning_rate"]) == pytest.approx(0.05)
    assert found.params["number_of_params"] == str(model.count_params()) == "7"
    path = tmp_path / "model.keras"
    path.write_bytes(open_artifacts(found.artifact_uri).read("model.keras"))
    assert np.allclose(keras.saving.load_model(path).predict(points[0], verbose=0), model.predict(points[0], verbose=0))
    assert inputs(run) == {("training", "training", len(points[0])), ("validation", "evaluation", 8)}
    assert "; fit-2: keras: " in found.tags[TAG]
    assert found.tags[TAG].endswith("model.keras")


@pytest.mark.parametrize("kind", ["none", "one", "list", "CallbackList"])
def test_keras_keeps_the_users_callbacks(begin, stored, keras, net, points, kind):
    class Own(keras.callbacks.Callback):
        seen = 0

        def on_epoch_end(self, *_):
            self.seen += 1

    model, own = net(), Own()
    given = {"none": None, "one": own, "list": [own]}.get(kind)
    if kind == "CallbackList":
        given = keras.callbacks.CallbackList([own], add_history=True, model=model)
    autolog.enable(["keras"])
    with begin() as run:
        model.fit(*points, None, 2, 0, given)
    assert len(curve(run, "loss")) == 2
    assert own.seen == (0 if kind == "none" else 2)
    if kind == "list":
        assert given == [own]
    if kind == "CallbackList":
        assert [type(callback).__name__ for callback in given.callbacks].count("Recorder") == 0
    assert stored(run).params["epochs"] == "2"


def test_keras_stops_early(begin, stored, keras, net, points):
    stopping = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=100, restore_best_weights=True)
    autolog.enable(["keras"])
    with begin() as run:
        net().fit(*points, epochs=30, verbose=0, callbacks=[stopping])
    found = stored(run)
    assert found.params["early_stopping_monitor"] == "loss"
    assert found.metrics["early_stopping_stopped_epoch"] == stopping.stopped_epoch > 0
    assert found.metrics["early_stopping_best"] == pytest.approx(float(stopping.best))


def test_keras_raises_what_training_raises_and_comes_back(begin, stored, keras, net, points):
    original = keras.Model.fit
    autolog.enable(["keras"])
    assert keras.Model.fit is not original
    assert inspect.signature(keras.Model.fit) == inspect.signature(original)
    with begin() as run, pytest.raises(ValueError, match=r"cardinality|sizes"):
        net().fit(points[0], points[1][:5], verbose=0)
    assert "the fit raised ValueError" in stored(run).tags[TAG]
    with begin(), pytest.raises(TypeError, match="no_such"):
        net().fit(*points, no_such=1)
    with begin(), pytest.raises(ValueError, match="compile"):
        keras.Sequential([keras.layers.Dense(1)]).fit(*points)
    autolog.disable()
    assert keras.Model.fit is original
