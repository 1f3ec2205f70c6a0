"""Model URIs: every form, and a clear word about everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.entities import Stage
from prefect_ml.errors import InvalidInputError
from prefect_ml.models.uri import ModelUri, UriKind


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/churn/3", ModelUri(UriKind.VERSION, name="churn", version=3)),
        ("models:/churn@champion", ModelUri(UriKind.ALIAS, name="churn", alias="champion")),
        ("models:/churn/Production", ModelUri(UriKind.STAGE, name="churn", stage=Stage.PRODUCTION)),
        ("models:/churn/staging", ModelUri(UriKind.STAGE, name="churn", stage=Stage.STAGING)),
        ("models:/churn/None", ModelUri(UriKind.STAGE, name="churn", stage=Stage.NONE)),
        ("models:/churn/latest", ModelUri(UriKind.LATEST, name="churn")),
        ("models:/my model.v1-a_b/12", ModelUri(UriKind.VERSION, name="my model.v1-a_b", version=12)),
        ("models:/a%20b/1", ModelUri(UriKind.VERSION, name="a%20b", version=1)),
        ("models:/m-1b2c", ModelUri(UriKind.LOGGED_MODEL, model_id="m-1b2c")),
        ("runs:/abc/model", ModelUri(UriKind.RUN, run_id="abc", path="model")),
        ("runs:/abc/a/b#c", ModelUri(UriKind.RUN, run_id="abc", path="a/b#c")),
        ("/data/model", ModelUri(UriKind.FOLDER, path="/data/model")),
        ("file:///data/a%20b", ModelUri(UriKind.FOLDER, path="/data/a b")),
    ],
)
def test_the_forms(uri, expected):
    assert ModelUri.parse(uri) == expected


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ModelUri.parse("models/churn").path == str(tmp_path / "models/churn")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "models:",
        "models:/",
        "models:/churn",
        "models:/churn/",
        "models:/churn@",
        "models:/m-",
        "models:/@champion",
        "models://churn/3",
        "models:/churn/0",
        "models:/churn/-1",
        "models:/churn/1.5",
        "models:/churn/\u0663",
        "models:/churn/99999999999",
        "models:/a/b/3",
        "models:/a/b@c",
        "models:/churn/champion",
        "models:churn/3",
        "runs:/",
        "runs:/abc",
        "runs:/abc/",
        "runs:/abc/../x",
        "runs:/abc//etc/passwd",
        "runs:/abc/a\\b",
        "runs://abc/model",
        "s3://bucket/model",
        "http://host/model",
        "/data/../etc",
        "file://host/x",
        "file:///a#/../b",
    ],
)
def test_anything_else_is_refused_with_a_sentence(uri):
    with pytest.raises(InvalidInputError) as caught:
        ModelUri.parse(uri)
    assert str(caught.value).endswith(".")


def test_an_alias_written_as_a_version_is_pointed_out():
    with pytest.raises(InvalidInputError, match=r"an alias is written 'models:/churn@champion'"):
        ModelUri.parse("models:/churn/champion")


texts = st.text("ab@/:.1-_ %#?\\é\x00", max_size=12)


@given(st.sampled_from(["", "models:/", "runs:/", "file:///", "models:", "/"]), texts)
def test_what_is_understood_reads_back_the_same(prefix, text):
    try:
        parsed = ModelUri.parse(prefix + text)
    except InvalidInputError:
        return
    assert ModelUri.parse(str(parsed)) == parsed
