"""LightGBM: `lightgbm.train` and the estimators, with their curves while they train."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from prefect_ml.tracking.autolog import boosters
from prefect_ml.tracking.autolog.calls import Call, observing
from prefect_ml.tracking.autolog.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from prefect_ml.tracking.autolog.fit import Fit

LIBRARY = "lightgbm"

_ESTIMATORS = ("LGBMModel", "LGBMClassifier", "LGBMRanker", "LGBMRegressor")
_KINDS = ("gain", "split")


def install(module: ModuleType) -> Patches:
    patches = Patches()
    for owner in (module, module.engine, module.sklearn):
        patches.replace(owner, "train", observing(observe_train))
    for name in _ESTIMATORS:
        if "fit" in vars(class_ := getattr(module, name, object)):
            patches.replace(class_, "fit", observing(observe_fit))
    return patches


def observe_train(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return boosters.train(sys.modules[__name__], original, args, kwargs)


def observe_fit(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return boosters.fit_estimator(sys.modules[__name__], original, args, kwargs)


def silent() -> bool:
    """LightGBM does not say which of several machines this is."""
    return False


def listening(fit: Fit, call: Call) -> Call:
    return call.having("callbacks", [*(call.given.get("callbacks") or ()), _Curves(fit)])


def evaluations(call: Call) -> list[tuple[str, Any, Any]]:
    given: Mapping[str, Any] = call.given
    x, y, pairs = given.get("eval_X"), given.get("eval_y", ()), given.get("eval_set")
    if x is not None:
        pairs = zip(x, y, strict=True) if isinstance(x, tuple) else [(x, y)]
    return _named([pairs] if isinstance(pairs, tuple) else pairs or (), given.get("eval_names"))


def before_train(fit: Fit, call: Call) -> None:
    fit.params(dict(call.given["params"]) | {"num_boost_round": call.given["num_boost_round"]})
    data = call.given["train_set"]
    fit.input(data.data, data.label)
    fit.evaluations(lambda: _valid_sets(call.given), data.data)


def after_train(fit: Fit, booster: Any) -> None:
    _record_booster(fit, booster)
    fit.model(booster)


def after_fit(fit: Fit, estimator: Any) -> None:
    _record_booster(fit, estimator.booster_)


def _valid_sets(given: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The data of each set, as long as the library has not read and freed them."""
    sets = given.get("valid_sets") or ()
    listed = sets if isinstance(sets, list | tuple) else [sets]
    return _named([(each.data, each.label) for each in listed], given.get("valid_names"))


def _named(pairs: Iterable[tuple[Any, Any]], names: Any) -> list[tuple[str, Any, Any]]:
    """Data and targets with the names that the library gives their curves."""
    given = [names] if isinstance(names, str) else list(names or ())
    return [(given[n] if n < len(given) else f"valid_{n}", x, y) for n, (x, y) in enumerate(pairs)]


class _Curves:
    """Records each evaluation, before early stopping (whose order is 30) may raise."""

    order = 25
    before_iteration = False

    def __init__(self, fit: Fit) -> None:
        self._fit = fit

    def __call__(self, env: Any) -> None:
        points = {f"{item[0]}-{item[1]}": item[2] for item in env.evaluation_result_list or ()}
        if points:
            self._fit.metrics(points, env.iteration)


def _record_booster(fit: Fit, booster: Any) -> None:
    fit.metrics({"iterations": booster.current_iteration()})
    # 0 or -1 without early stopping
    if booster.best_iteration > 0:
        best = {
            f"best-{data}-{name}": value for data, found in booster.best_score.items() for name, value in found.items()
        }
        fit.metrics({"best_iteration": booster.best_iteration, **best})
    names = booster.feature_name()
    found = {kind: booster.feature_importance(kind).tolist() for kind in _KINDS}
    boosters.record_importances(fit, {kind: dict(zip(names, of, strict=True)) for kind, of in found.items()})
