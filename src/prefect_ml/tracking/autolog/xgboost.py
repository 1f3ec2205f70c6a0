"""XGBoost: `xgboost.train` and the estimators, with their curves while they train."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from prefect_ml.tracking.autolog import boosters
from prefect_ml.tracking.autolog.calls import Call, observing
from prefect_ml.tracking.autolog.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from prefect_ml.tracking.autolog.fit import Fit

LIBRARY = "xgboost"

_TRAIN_PARAMS = ("num_boost_round", "early_stopping_rounds", "maximize")
_ESTIMATORS = ("XGBModel", "XGBClassifier", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor", "XGBRegressor")
_KINDS = ("gain", "weight")


def install(module: ModuleType) -> Patches:
    patches = Patches()
    for owner in (module, module.training, module.sklearn):
        patches.replace(owner, "train", observing(observe_train))
    for name in _ESTIMATORS:
        if "fit" in vars(class_ := getattr(module, name)):
            patches.replace(class_, "fit", observing(observe_fit))
    return patches


def observe_train(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return boosters.train(sys.modules[__name__], original, args, kwargs)


def observe_fit(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return boosters.fit_estimator(sys.modules[__name__], original, args, kwargs)


def silent() -> bool:
    import xgboost  # noqa: PLC0415 - imported already

    return bool(xgboost.collective.get_rank() != 0)


def listening(fit: Fit, call: Call) -> Call:
    return call.having("callbacks", [*(call.given.get("callbacks") or ()), _curves(fit)])


def evaluations(call: Call) -> list[tuple[str, Any, Any]]:
    return [(f"validation_{number}", x, y) for number, (x, y) in enumerate(call.given.get("eval_set") or ())]


def before_train(fit: Fit, call: Call) -> None:
    given = {name: call.given.get(name) for name in _TRAIN_PARAMS}
    fit.params(dict(call.given["params"]) | {name: value for name, value in given.items() if value is not None})
    data = call.given.get("dtrain")
    fit.input(data)
    fit.evaluations(lambda: [(name, other, None) for other, name in call.given.get("evals") or ()], data)


def after_train(fit: Fit, booster: Any) -> None:
    _record_booster(fit, booster)
    fit.model(booster)


def after_fit(fit: Fit, estimator: Any) -> None:
    _record_booster(fit, estimator.get_booster())


def _record_booster(fit: Fit, booster: Any) -> None:
    attributes = booster.attributes()
    best = {name: float(attributes[name]) for name in ("best_iteration", "best_score") if name in attributes}
    if best:
        fit.metrics(best)
    fit.metrics({"iterations": booster.num_boosted_rounds()})
    kinds = _KINDS if attributes.get("booster") != "gblinear" else ("weight",)
    boosters.record_importances(fit, {kind: _importances(booster, kind) for kind in kinds})


def _importances(booster: Any, kind: str) -> dict[str, float]:
    found = booster.get_score(importance_type=kind)
    # A linear booster of several classes has one for each class.
    return {name: sum(value) if isinstance(value, list) else value for name, value in found.items()}


def _curves(fit: Fit) -> Any:
    from xgboost.callback import TrainingCallback  # noqa: PLC0415 - imported already

    class Curves(TrainingCallback):
        """Records the last point of each evaluation; it never stops the training."""

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002 - its signature
            points = {}
            for data, found in evals_log.items():
                for name, values in found.items():
                    last = values[-1]
                    points[f"{data}-{name}"] = last[0] if isinstance(last, tuple) else last
            if points:
                fit.metrics(points, epoch)
            return False

    return Curves()
