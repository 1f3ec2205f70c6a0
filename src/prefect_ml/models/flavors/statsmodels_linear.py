"""Linear models of statsmodels as JSON: the class, the parameters, and of a GLM its family and link."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prefect_ml.artifacts.durable import open_to_read
from prefect_ml.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAX_BYTES = 64 << 20
_ROWS = 16


def write_linear(results: Any, path: Path) -> str | None:
    """Write the file; returns why it cannot be (None when it is written).

    What was written is read back and asked for the first rows of the training data; it is only taken when it answers
    as the model itself does.
    """
    import numpy as np  # noqa: PLC0415 - statsmodels imported it
    import statsmodels.api as sm  # noqa: PLC0415 - the model's own library, imported already

    from prefect_ml.models.flavors import statsmodels_loader as known  # noqa: PLC0415 - it imports statsmodels

    model = results.model
    class_ = type(model).__name__
    if class_ not in known.MODELS or type(model) is not getattr(sm, class_):
        return f"its predictions depend on more than parameters ({class_}), or its class is unknown"
    if hasattr(model, "formula"):
        return "it has a formula, which is code"
    params, rows = np.asarray(results.params, dtype=float), getattr(model, "exog", None)
    if rows is None or params.ndim != 1:
        return "its training data was removed, so that nothing can be compared"
    content: dict[str, Any] = {"class": class_, "names": [str(name) for name in model.exog_names]}
    content["params"] = params.tolist()
    if class_ == "GLM":
        content["family"] = _spec(model.family, sm.families, known.FAMILIES)
        content["link"] = _spec(model.family.link, sm.families.links, known.LINKS)
        if content["family"] is None or content["link"] is None:
            return "its family or link is a class of its own"
    text = json.dumps(content)
    sample = rows[:_ROWS]
    if not np.array_equal(known.read_parameters(text).predict(sample), results.predict(sample), equal_nan=True):
        return "its parameters alone do not predict what it predicts"
    path.write_text(text)
    return None


def read_linear(path: Path, origin: str) -> Any:
    """A results object with `params`, `model` and `predict`.

    Raises:
        ArtifactError: the file is none of these models.
    """
    from prefect_ml.models.flavors.statsmodels_loader import read_parameters  # noqa: PLC0415 - imports statsmodels

    with open_to_read(path) as stream:
        text = stream.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ArtifactError(f"The parameters {path.name!r} of {origin!r} are longer than {_MAX_BYTES >> 20} MiB.")
    try:
        return read_parameters(text)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactError(f"The parameters {path.name!r} of {origin!r} are damaged: {error!r}.") from error


def _spec(part: Any, room: Any, known: Mapping[str, tuple[str, ...]]) -> dict[str, Any] | None:
    """The class and arguments of a family or link; None when it is none of the known ones."""
    name = type(part).__name__
    if name not in known or type(part) is not getattr(room, name):
        return None
    return {"class": name, **{argument: float(getattr(part, argument)) for argument in known[name]}}
