"""The page on which a model is tried by hand: plain HTML, no script, nothing from elsewhere.

What the model, its signature and its answers say is text to the template, which escapes all of it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.schema import Column
from prefect_ml.serving.cells import typed_cells
from prefect_ml.serving.openapi import example_of

if TYPE_CHECKING:
    from jinja2 import Template

    from prefect_ml.serving.picking import ServedModel, ServedModels

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
label { display: grid; grid-template-columns: 14rem 1fr; gap: 1rem; margin: .25rem 0; align-items: center }
input, textarea { font: inherit; padding: .25rem .5rem; border: 1px solid #8c959f; border-radius: 4px; width: 100% }
textarea { font-family: ui-monospace, monospace; min-height: 10rem; box-sizing: border-box }
button { font: inherit; margin: 1rem 0; padding: .4rem 1.2rem }
pre { background: #f6f8fa; padding: 1rem; overflow: auto; border-left: 4px solid #1a7f37 }
pre.failed { border-color: #cf222e }
small { color: #57606a }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3 } pre, input, textarea { background: #161b22; color: inherit }
  small { color: #9198a1 } a { color: #4493f8 }
}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ name }} · prefect-ml</title>
<style>{{ style }}</style>
<h1>{{ name }}{% if version %} <small>version {{ version }}</small>{% endif %}</h1>
{% if others %}<p>Also served:
{% for other in others %}<a href="/try/{{ other | urlencode }}">{{ other }}</a>
{% endfor %}</p>
{% endif %}
{% if answer is not none %}<h2>Answer</h2>
<pre{% if failed %} class="failed"{% endif %} role="status">{{ answer }}</pre>
{% endif %}
<form method="post" action="/try/{{ name | urlencode }}">
{% if fields %}{% for field in fields %}<label><span>{{ field.name }} <small>{{ field.type }}</small></span>
<input name="{{ field.key }}" value="{{ field.value }}"></label>
{% endfor %}{% else %}<label for="body">Request, as JSON</label>
<textarea id="body" name="body" spellcheck="false">{{ body }}</textarea>
{% endif %}
<button>Predict</button>
</form>
<p><a href="/openapi.json">OpenAPI</a> · <a href="/health">health</a> · <a href="/metrics">metrics</a></p>
</html>
"""
# Columns beyond which a form is no help.
_MOST_FIELDS = 100


def render(
    models: ServedModels,
    model: ServedModel,
    given: dict[str, str],
    answer: bytes | None = None,
    *,
    failed: bool = False,
) -> str:
    """The page of a model.

    Args:
        models: all that are served.
        model: that the page is of.
        given: what was filled in; the fields have the model's example where it is empty.
        answer: the JSON of what came of it; None when nothing was asked.
        failed: whether it is an error.
    """
    replicas = model.replicas()
    shown = None if answer is None else orjson.dumps(orjson.loads(answer), option=orjson.OPT_INDENT_2).decode()
    example = example_of(replicas[0]) if replicas else None
    columns = _columns(model)
    first = _first_row(example, [str(column.name) for column in columns])
    fields = [
        {
            "key": f"column.{at}",
            "name": str(column.name),
            "type": str(column.type) + ("" if column.required else ", may be empty"),
            "value": given.get(f"column.{at}", _text(first.get(str(column.name)))),
        }
        for at, column in enumerate(columns)
    ]
    text = given.get("body") or orjson.dumps(example or {"inputs": []}, option=orjson.OPT_INDENT_2).decode()
    return _template().render(
        name=model.name,
        version=replicas[0].version if replicas else "",
        others=[other.name for other in models if other is not model],
        answer=shown,
        failed=failed,
        fields=fields,
        body=text,
        style=_style(),
    )


def read_form(body: bytes) -> dict[str, str]:
    """What a form sent.

    Raises:
        InvalidInputError: it is no form.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=1000)
    except ValueError as error:
        raise InvalidInputError("This is no form; send JSON to /invocations.") from error
    return dict(pairs)


def request_of(model: ServedModel, given: dict[str, str]) -> bytes:
    """The JSON of a scoring request for what was filled in: one row of columns, or the text as it is."""
    columns = _columns(model)
    if not columns:
        return given.get("body", "").encode()
    record = {
        str(column.name): typed_cells([given.get(f"column.{at}", "")], column.type)[0]
        for at, column in enumerate(columns)
    }
    return orjson.dumps({"dataframe_records": [record]})


def _columns(model: ServedModel) -> list[Column]:
    """The columns that fields are made for: all, named and of plain types, or none."""
    replicas = model.replicas()
    signature = replicas[0].model.signature if replicas else None
    inputs = (signature.inputs if signature is not None else None) or ()
    columns = [
        spec for spec in inputs if isinstance(spec, Column) and spec.name is not None and isinstance(spec.type, str)
    ]
    return columns if len(columns) == len(inputs) <= _MOST_FIELDS else []


def _first_row(example: Any, names: list[str]) -> dict[str, Any]:
    split = example.get("dataframe_split") if isinstance(example, dict) else None
    if not isinstance(split, dict) or not split.get("data"):
        return {}
    return dict(zip(map(str, split.get("columns", names)), split["data"][0], strict=False))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@functools.cache
def _template() -> Template:
    from jinja2 import Environment  # noqa: PLC0415  for the page alone

    return Environment(autoescape=True, trim_blocks=True).from_string(_TEMPLATE)


@functools.cache
def _style() -> Any:
    from markupsafe import Markup  # noqa: PLC0415  as above

    return Markup(_STYLE)  # noqa: S704  a constant of this module
