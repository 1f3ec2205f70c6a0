"""The examples do what their first lines say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import prefect_ml as ml

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.usefixtures("prefect_api")
def test_a_flow_of_ones_own_is_recorded_and_its_model_registered():
    module = runpy.run_path(str(EXAMPLES / "train_diabetes.py"), run_name="example")
    returned = module["train_diabetes"](alpha=0.01)
    (run,) = ml.search_runs("diabetes")
    assert run.params == {"alpha": "0.01"}
    assert dict(run.metrics) == pytest.approx(returned)
    assert run.status == "FINISHED"
    x = module["load"].fn()[1]
    model = ml.load_model("models:/diabetes/1")
    assert len(model.predict(x)) == len(x)
    assert set(ml.load_model(f"runs:/{run.run_id}/model").signature.to_mlmodel()) == {"inputs", "outputs", "params"}
