"""What an image starts."""

from __future__ import annotations

import pytest

from prefect_ml.deploying.inside import MODEL_FOLDER, command


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_the_model_of_the_image_is_served_unless_sagemaker_put_one_there(arguments, tmp_path):
    expected = ["serve", "--host", "0.0.0.0", "--port", "8080", "--"]  # noqa: S104 - of a container
    assert command(arguments, sagemaker=tmp_path) == [*expected, MODEL_FOLDER]
    (tmp_path / "MLmodel").touch()
    assert command(arguments, sagemaker=tmp_path) == [*expected, str(tmp_path)]


def test_other_arguments_are_those_of_the_command(tmp_path):
    assert command(["models", "list"], sagemaker=tmp_path) == ["models", "list"]
