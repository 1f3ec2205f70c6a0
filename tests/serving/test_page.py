"""The document that describes the models, and the page to try them."""

from __future__ import annotations

import re

import jsonschema
import numpy as np
import pandas as pd
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from sklearn.linear_model import LinearRegression

from prefect_ml.models.folder import save_model

HOSTILE = "<script>alert(1)</script>{{ 7 * 7 }}"


@pytest.fixture(scope="module")
def several(tmp_path_factory, serving_process):
    """Columns of several types with a hostile name, and an array."""
    folder = tmp_path_factory.mktemp("models")
    table = pd.DataFrame({HOSTILE: [1.0, 2.0, 3.0], "count": [1, 2, 4], "seen": [True, False, True]})
    save_model(LinearRegression().fit(table, [1.0, 2.0, 3.0]), folder / "table", input_example=table)
    rows = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0]])
    save_model(LinearRegression().fit(rows, [1.0, 2.0, 3.0]), folder / "array", input_example=rows)
    home = str(tmp_path_factory.mktemp("home"))
    with serving_process(str(folder / "table"), str(folder / "array"), PREFECT_ML_HOME=home) as client:
        yield client


def test_the_document_is_valid_and_has_the_signature_of_each_model(several):
    document = several.get("/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    records = document["components"]["schemas"]["Request0"]["oneOf"][1]["properties"]["dataframe_records"]["items"]
    assert records["properties"]["count"] == {"type": "integer", "format": "int64"}
    assert records["properties"]["seen"] == {"type": "boolean"}
    assert set(records["required"]) == {HOSTILE, "count", "seen"}
    assert {"/invocations", "/models/table/invocations", "/models/array/invocations"} <= document["paths"].keys()


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_of_the_document_fit_it_and_are_answered(several, number):
    document = several.get("/openapi.json").json()
    path = list(document["paths"])[number + 1]
    example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    schemas = document["components"]["schemas"]
    jsonschema.validate(example, schemas[f"Request{number}"])
    answer = several.post(path, json=example)
    assert answer.status_code == 200
    jsonschema.validate(answer.json(), schemas[f"Answer{number}"])


def test_the_page_has_a_field_for_each_column_filled_with_the_example(several):
    page = several.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert re.findall(r'name="(column\.\d)" value="([^"]*)"', page.text) == [
        ("column.0", "1.0"),
        ("column.1", "1"),
        ("column.2", "true"),
    ]
    assert "script" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert HOSTILE not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}" in page.text


def test_a_filled_form_is_answered_on_the_page(several):
    page = several.post("/try/table", data={"column.0": "2.0", "column.1": "2", "column.2": "false"})
    assert page.status_code == 200
    assert "predictions" in page.text
    assert 'value="false"' in page.text


@pytest.mark.parametrize("given", ["<b>text</b>", '"><img src=x>', ""])
def test_what_does_not_fit_is_said_on_the_page_as_text(several, given):
    page = several.post("/try/table", data={"column.0": given, "column.1": "2", "column.2": "false"})
    assert 'class="failed"' in page.text
    assert "BAD_REQUEST" in page.text
    assert "<b>" not in page.text
    assert "<img" not in page.text


def test_a_model_of_arrays_is_asked_by_json(several):
    page = several.get("/try/array")
    assert "<textarea" in page.text
    page = several.post("/try/array", data={"body": '{"inputs": [[1, 2]]}'})
    assert "predictions" in page.text
    assert 'class="failed"' in several.post("/try/array", data={"body": "</textarea>"}).text


def test_a_form_of_another_site_is_refused(several):
    answer = several.post("/try/table", data={"column.0": "1"}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403
    assert several.post("/try/other", data={"body": "{}"}).status_code == 404
