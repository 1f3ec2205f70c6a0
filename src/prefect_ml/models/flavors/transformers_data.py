"""What pipelines of Transformers take and give, as MLflow's pyfunc has it."""

from __future__ import annotations

import json
from typing import Any

from prefect_ml.errors import InvalidInputError
from prefect_ml.models.infer import data_kind

# Arguments by name, one dict for each row.
_BY_NAME = {
    "question-answering": ("question", "context"),
    "zero-shot-classification": ("sequences", "candidate_labels"),
}
_PAIR = {"text", "text_pair"}
_LABELS = frozenset(
    {
        "text-classification",
        "sentiment-analysis",
        "image-classification",
        "audio-classification",
    }
)
# Of each answer, this alone is given.
_TEXT_OF = {
    "text-generation": "generated_text",
    "text2text-generation": "generated_text",
    "summarization": "summary_text",
    "translation": "translation_text",
    "question-answering": "answer",
    "automatic-speech-recognition": "text",
    "image-to-text": "generated_text",
}


def inputs_of(pipeline: Any, data: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments to call a pipeline with.

    Raises:
        InvalidInputError: it needs dicts with certain keys, and the data has others.
    """
    rows = _rows(data)
    names = _BY_NAME.get(pipeline.task)
    if names is None:
        return (_texts(pipeline, rows),), {}
    listed = rows if isinstance(rows, list) else [rows]
    if not all(isinstance(row, dict) and set(names) <= set(row) for row in listed):
        raise InvalidInputError(
            f"A pipeline for {pipeline.task} takes {' and '.join(names)}: a dict, a list of dicts, or "
            "a DataFrame with these columns."
        )
    if pipeline.task == "zero-shot-classification":
        labels = _labels(listed[0]["candidate_labels"])
        texts = [
            text
            for row in listed
            for text in ([row["sequences"]] if isinstance(row["sequences"], str) else row["sequences"])
        ]
        return (texts,), {"candidate_labels": labels}
    return (), {name: [row[name] for row in listed] for name in names}


def outputs_of(pipeline: Any, outputs: Any, *, single: bool) -> Any:
    """What a pipeline gave: a DataFrame for classifications, an array for features, texts, or its own."""
    task = pipeline.task
    if task in _LABELS:
        return _frame(outputs)
    if task == "zero-shot-classification":
        return _frame(_by_label(outputs))
    if task == "feature-extraction":
        import numpy as np  # noqa: PLC0415 - only for a pipeline that gives arrays

        # As MLflow gives it: the vectors of the first text's tokens.
        return np.array(outputs[0][0])
    if task == "fill-mask":
        found = _best(outputs)
    elif task in ("token-classification", "ner"):
        found = _tags(outputs)
    else:
        key = _TEXT_OF.get(task, "translation_text" if task.startswith("translation") else "")
        if not key:
            return outputs
        found = _all(outputs, key)
    if isinstance(found, str):
        return [found.strip()]
    cleaned = [text.strip() for text in found]
    return cleaned[:1] if single else cleaned


def _by_label(outputs: Any) -> list[dict[str, Any]]:
    """One row for each text and label."""
    return [
        {"sequence": each["sequence"], "labels": label, "scores": score}
        for each in (outputs if isinstance(outputs, list) else [outputs])
        for label, score in zip(each["labels"], each["scores"], strict=True)
    ]


def _rows(data: Any) -> Any:
    kind = data_kind(data)
    if kind == "frame":
        return data.to_dict(orient="records")
    if kind in ("series", "array"):
        return data.tolist()
    return data


def _texts(pipeline: Any, rows: Any) -> Any:
    if isinstance(rows, dict) and set(rows) <= _PAIR and pipeline.task in ("text-classification", "sentiment-analysis"):
        return rows
    listed = [rows] if isinstance(rows, dict) else rows
    if isinstance(listed, list) and listed and all(isinstance(row, dict) for row in listed):
        if "text_pair" in listed[0] and set(listed[0]) <= _PAIR:
            return listed
        return [next(iter(row.values())) for row in listed]
    return rows


def _labels(given: Any) -> Any:
    """Labels come as a list, or as JSON of one in a column of texts."""
    if isinstance(given, str):
        try:
            parsed = json.loads(given)
        except ValueError:
            return given
        return parsed if isinstance(parsed, list) else given
    return list(given)


def _frame(outputs: Any) -> Any:
    import pandas as pd  # noqa: PLC0415 - only for a pipeline that gives tables

    return pd.DataFrame(outputs)


def _best(outputs: Any) -> list[str]:
    """The likeliest word for each text's mask, of the first mask where there are several."""
    if isinstance(outputs[0], dict):
        return [outputs[0]["token_str"].strip()]
    firsts = [each[0] if isinstance(each[0], dict) else each[0][0] for each in outputs]
    return [first["token_str"].strip() for first in firsts]


def _tags(outputs: Any) -> Any:
    """The tags of each text's words, separated by commas."""
    if outputs and isinstance(outputs[0], list):
        return [_tags(each) for each in outputs]
    return ",".join(str(each.get("entity_group", each.get("entity"))) for each in outputs)


def _all(outputs: Any, key: str) -> Any:
    if isinstance(outputs, dict):
        return outputs[key]
    found: list[str] = []
    for each in outputs:
        inner = _all(each, key)
        found += [inner] if isinstance(inner, str) else inner
    return found
