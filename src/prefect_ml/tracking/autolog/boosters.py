"""What the boosters have in common: how they are patched, their importances, and their estimators' data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

from prefect_ml.tracking.autolog import fit as fits
from prefect_ml.tracking.autolog.calls import Call, caller
from prefect_ml.tracking.autolog.contract import MOST_BARS, MOST_IMPORTANCES
from prefect_ml.tracking.autolog.values import first_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prefect_ml.tracking.autolog.fit import Fit


class Booster(Protocol):
    """What differs between the libraries; a module of theirs is one."""

    LIBRARY: str

    def silent(self) -> bool:
        """Whether this process is one of several that train together, and not the one that speaks."""
        ...

    def listening(self, fit: Fit, call: Call) -> Call:
        """The call of `train` with a callback that records its curves."""
        ...

    def evaluations(self, call: Call) -> Iterable[tuple[str, Any, Any]]:
        """What the call of an estimator's `fit` says to evaluate on: names as in its curves, data and targets."""
        ...

    def before_train(self, fit: Fit, call: Call) -> None: ...

    def after_train(self, fit: Fit, booster: Any) -> None: ...

    def after_fit(self, fit: Fit, estimator: Any) -> None: ...


def train(own: Booster, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the library's `train`, and record it, or its curves alone when an estimator's `fit` is recorded."""
    around = fits.inside()
    if around is not None and around.library == own.LIBRARY and caller() == own.LIBRARY:
        return _listening(own, around, Call.of(original, args, kwargs)).make()
    if not fits.wanted(own.LIBRARY) or caller() == own.LIBRARY or own.silent():
        return original(*args, **kwargs)
    fit = fits.opened(own.LIBRARY)
    if fit is None:
        return original(*args, **kwargs)
    call = Call.of(original, args, kwargs)
    return fits.recorded(
        fit,
        _listening(own, fit, call).make,
        before=lambda: own.before_train(fit, call),
        after=lambda booster: own.after_train(fit, booster),
    )


def fit_estimator(own: Booster, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the `fit` of an estimator of the library, and record it."""
    if not fits.wanted(own.LIBRARY) or caller() in (own.LIBRARY, "sklearn") or own.silent():
        return original(*args, **kwargs)
    fit = fits.opened(own.LIBRARY)
    if fit is None:
        return original(*args, **kwargs)
    call = Call.of(original, args, kwargs)
    return fits.recorded(
        fit,
        call.make,
        before=lambda: _before_fit(own, fit, call),
        after=lambda estimator: _after_fit(own, fit, estimator, call),
    )


def record_importances(fit: Fit, importances: Mapping[str, Mapping[str, float]]) -> None:
    """Keep importances by kind and feature, the largest first; and a plot where matplotlib is in use already."""
    ranked = {
        kind: dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST_IMPORTANCES])
        for kind, found in importances.items()
    }
    for kind, found in importances.items():
        if len(found) > MOST_IMPORTANCES:
            fit.note(f"{MOST_IMPORTANCES} of {len(found)} importances by {kind}")
    fit.json(ranked, "feature_importance.json")
    if "matplotlib" in sys.modules:
        for kind, found in ranked.items():
            if found:
                _plot(fit, kind, found)


def _listening(own: Booster, fit: Fit, call: Call) -> Call:
    with fit.attempt("curves"):
        return own.listening(fit, call)
    return call


def _before_fit(own: Booster, fit: Fit, call: Call) -> None:
    estimator = call.args[0]
    class_ = type(estimator)
    fit.tags({"estimator_name": class_.__name__, "estimator_class": f"{class_.__module__}.{class_.__qualname__}"})
    fit.params({name: value for name, value in estimator.get_params().items() if value is not None})
    x = call.given.get("X")
    fit.input(x, call.given.get("y"))
    fit.evaluations(lambda: own.evaluations(call), x)


def _after_fit(own: Booster, fit: Fit, estimator: Any, call: Call) -> None:
    from prefect_ml.tracking.autolog.sklearn_metrics import training_metrics  # noqa: PLC0415 - for estimators alone

    x = call.given.get("X")
    with fit.attempt("training metrics"):
        y, weights = call.given.get("y"), call.given.get("sample_weight")
        fit.metrics(training_metrics(estimator, x, y, weights, note=fit.note))
    with fit.attempt("the best iteration and the importances"):
        own.after_fit(fit, estimator)
    fit.model(estimator, first_rows(x))


def _plot(fit: Fit, kind: str, importances: Mapping[str, float]) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - in use already

    with fit.attempt("the plot of importances"):
        shown = list(importances.items())[:MOST_BARS][::-1]
        figure = Figure(figsize=(7, 1.2 + 0.25 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh([name for name, _ in shown], [value for _, value in shown])
        axes.set_xlabel(f"importance by {kind}")
        fit.figure(figure, f"feature_importance_{kind}.png")
