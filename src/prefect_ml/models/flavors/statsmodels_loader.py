"""Opens linear models of statsmodels from their parameters; needs only statsmodels.

This file is copied into model folders, where mlflow.pyfunc imports it, so it imports nothing of prefect-ml.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.base.model import Results

# Classes of `statsmodels.api` whose predictions depend on regressors and parameters alone.
MODELS = ("OLS", "WLS", "GLS", "RLM", "QuantReg", "GLM", "Logit", "Probit", "Poisson")
# Classes of `statsmodels.genmod.families`, with the arguments that change what is predicted.
FAMILIES: dict[str, tuple[str, ...]] = {
    "Binomial": (),
    "Gamma": (),
    "Gaussian": (),
    "InverseGaussian": (),
    "NegativeBinomial": ("alpha",),
    "Poisson": (),
    "Tweedie": ("var_power",),
}
LINKS: dict[str, tuple[str, ...]] = {
    "CLogLog": (),
    "Cauchy": (),
    "Identity": (),
    "InversePower": (),
    "InverseSquared": (),
    "Log": (),
    "LogC": (),
    "LogLog": (),
    "Logit": (),
    "NegativeBinomial": ("alpha",),
    "Power": ("power",),
    "Probit": (),
    "Sqrt": (),
}


class Parameters(Results):  # type: ignore[misc] # statsmodels ships no types
    """What is left of a fit without its data: `params`, `model` and `predict`."""

    def predict(self, exog: Any = None, *args: Any, **kwargs: Any) -> Any:
        if exog is None:
            raise ValueError("The training data is not kept with this model; give the rows to predict on.")
        return super().predict(exog, *args, **kwargs)


def read_parameters(text: str | bytes) -> Parameters:
    """The model of a file; `ValueError`, `TypeError` or `KeyError` when it is damaged.

    The model holds made-up data, since only what it computes from parameters is asked of it.
    """
    content = json.loads(text)
    names = list(map(str, content["names"]))
    params = pd.Series(content["params"], index=names, dtype=float)
    class_ = content["class"]
    if class_ not in MODELS:
        raise ValueError(f"there is no class {class_!r} among {', '.join(MODELS)}")
    made_up = np.zeros(len(names)), pd.DataFrame(np.eye(len(names)), columns=names)
    if class_ != "GLM":
        return Parameters(getattr(sm, class_)(*made_up), params)
    link = _built(sm.families.links, content["link"], LINKS)
    family = _built(sm.families, content["family"], FAMILIES, link=link, check_link=False)
    return Parameters(sm.GLM(*made_up, family=family), params)


def _built(room: Any, spec: Mapping[str, Any], known: Mapping[str, tuple[str, ...]], **more: Any) -> Any:
    if spec["class"] not in known:
        raise ValueError(f"{spec['class']!r} is none of {', '.join(known)}")
    arguments = {name: float(spec[name]) for name in known[spec["class"]]}
    return getattr(room, spec["class"])(**arguments, **more)


class _Model:
    def __init__(self, native: Parameters) -> None:
        self._native = native

    def get_raw_model(self) -> Parameters:
        return self._native

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        return self._native.predict(data, **(params or {}))


def _load_pyfunc(path: str) -> _Model:
    return _Model(read_parameters(Path(path).read_bytes()))
