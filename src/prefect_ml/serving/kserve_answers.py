"""Reading the answers of KServe's protocol back, as those do who look at what was predicted."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.serving.kserve_tensors import read_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_outputs(answer: bytes) -> Mapping[str, Any]:
    """The arrays of an answer of our own by the name of their output, the bytes of some behind the JSON.

    NaN and infinities, which JSON has not and which were sent as null, are NaN.
    """
    content, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    # Latin-1 keeps one character for each byte, so that positions are those of the bytes.
    content, raw = orjson.loads(answer[:end]), memoryview(answer)[end:]
    found = {}
    for output in content["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            output["data"] = [math.nan if value is None else value for value in output["data"]]
        found[output["name"]] = read_tensor(output, None if size is None else raw[:size])
        raw = raw[size or 0 :]
    return found
