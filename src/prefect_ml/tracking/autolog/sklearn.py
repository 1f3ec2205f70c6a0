"""scikit-learn: `fit`, `fit_transform` and `fit_predict` of every estimator, of the user's own classes as well.

Recorded is what the user's code calls; fits that scikit-learn makes itself, inside a pipeline, a search or
`cross_val_score`, are its own business.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_ml.tracking.autolog import fit as fits
from prefect_ml.tracking.autolog.calls import caller
from prefect_ml.tracking.autolog.contract import MOST_CLASSES
from prefect_ml.tracking.autolog.patches import Patches
from prefect_ml.tracking.autolog.sklearn_metrics import training_metrics
from prefect_ml.tracking.autolog.sklearn_search import record_search
from prefect_ml.tracking.autolog.values import first_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FunctionType, ModuleType

    from prefect_ml.tracking.autolog.fit import Fit

LIBRARY = "sklearn"

_METHODS = ("fit", "fit_transform", "fit_predict")
_MIXINS = ("TransformerMixin", "ClusterMixin", "OutlierMixin")
# Their estimators are recorded by their own autologgers.
_BOOSTERS = ("xgboost", "lightgbm")
# A frame between an estimator's method and who calls it.
_BETWEEN = "sklearn.utils._set_output"


def install(module: ModuleType) -> Patches:
    """Patch `sklearn.base`: the estimators that are there, and each that comes."""
    patches = Patches()
    base = module.BaseEstimator
    for class_ in (*(getattr(module, name) for name in _MIXINS), *_subclasses(base)):
        _patch(class_, patches)
    patches.replace(base, "__init_subclass__", lambda original: classmethod(_announcing(original, base, patches)))
    return patches


def observe(original: Callable[..., Any], estimator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an estimator's own method, and record it when it is a fit that the user asked for."""
    if not fits.wanted(LIBRARY) or caller(_BETWEEN) == LIBRARY:
        return original(estimator, *args, **kwargs)
    fit = fits.opened(LIBRARY, lambda: "" if _predicts(estimator) else type(estimator).__name__)
    if fit is None:
        return original(estimator, *args, **kwargs)
    data = _Data()
    with fit.attempt("the training data"):
        data = _given(original, estimator, args, kwargs)
    return fits.recorded(
        fit,
        lambda: original(estimator, *args, **kwargs),
        before=lambda: _before(fit, estimator, data),
        after=lambda _: _after(fit, estimator, data),
    )


class _Data(NamedTuple):
    """What an estimator is fitted on, and a copy of its first rows."""

    x: Any = None
    y: Any = None
    weights: Any = None
    example: Any = None
    evaluations: Iterable[tuple[str, Any, Any]] = ()


def _subclasses(class_: type) -> Iterator[type]:
    below: list[type] = class_.__subclasses__()
    for sub in below:
        yield sub
        yield from _subclasses(sub)


def _patch(class_: type, patches: Patches) -> None:
    if any(base.__module__.partition(".")[0] in _BOOSTERS for base in class_.__mro__):
        return
    for name in _METHODS:
        own = vars(class_).get(name)
        if inspect.isfunction(own) and not hasattr(own, "_prefect_ml_observed"):
            patches.replace(class_, name, _observing)
        elif inspect.isfunction(fn := getattr(own, "fn", None)) and not hasattr(fn, "_prefect_ml_observed"):
            # scikit-learn's descriptor of a method that only some instances have
            patches.replace(own, "fn", _observing)


def _observing(original: FunctionType) -> Callable[..., Any]:
    # It refers to importable names alone, so that the user's classes can be pickled by value with it.
    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        return observe(original, self, args, kwargs)

    fit._prefect_ml_observed = True  # type: ignore[attr-defined] # noqa: SLF001 - our own mark
    return fit


def _announcing(original: Any, base: Any, patches: Patches) -> Callable[..., None]:
    own = original.__func__ if isinstance(original, classmethod) else None

    def __init_subclass__(cls: type, **kwargs: Any) -> None:  # noqa: N807 - it stands in for that
        if own is None:
            super(base, cls).__init_subclass__(**kwargs)
        else:
            own(cls, **kwargs)
        _patch(cls, patches)

    return __init_subclass__


def _predicts(estimator: Any) -> bool:
    return any(hasattr(estimator, name) for name in ("predict", "fit_predict"))


def _given(original: Any, estimator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Data:
    try:
        bound = inspect.signature(original).bind(estimator, *args, **kwargs)
    except TypeError:
        return _Data()
    named = {**bound.arguments, **bound.kwargs}
    positional = list(bound.arguments.values())
    x = named.get("X", positional[1] if len(positional) > 1 else None)
    weights = [value for name, value in named.items() if name.rpartition("__")[2] == "sample_weight"]
    return _Data(x, named.get("y"), weights[-1] if weights else None, first_rows(x), _evaluations(named))


def _evaluations(named: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What early stopping looks at: of an estimator, or of a booster that is a step of a pipeline."""
    if named.get("X_val") is not None:
        yield "validation", named["X_val"], named.get("y_val")
    for name, value in named.items():
        if name.rpartition("__")[2] == "eval_set" and isinstance(value, list):
            for number, (x, y) in enumerate(value):
                yield f"validation_{number}", x, y


def _before(fit: Fit, estimator: Any, data: _Data) -> None:
    class_ = type(estimator)
    fit.tags({"estimator_name": class_.__name__, "estimator_class": f"{class_.__module__}.{class_.__qualname__}"})
    fit.params(estimator.get_params(deep=True))
    if _predicts(estimator):
        fit.input(data.x, data.y)
        fit.evaluations(lambda: data.evaluations, data.x)


def _after(fit: Fit, estimator: Any, data: _Data) -> None:
    with fit.attempt("training metrics"):
        fit.metrics(training_metrics(estimator, data.x, data.y, data.weights, note=fit.note))
    with fit.attempt("class names"):
        _record_classes(fit, estimator)
    if hasattr(estimator, "cv_results_"):
        record_search(fit, estimator)
    fit.model(getattr(estimator, "best_estimator_", estimator), data.example if _predicts(estimator) else None)


def _record_classes(fit: Fit, estimator: Any) -> None:
    classes = getattr(estimator, "classes_", None)
    if classes is None or isinstance(classes, list):
        return
    if len(classes) > MOST_CLASSES:
        fit.note(f"{MOST_CLASSES} of {len(classes)} classes named")
    fit.params({"classes": ", ".join(str(name) for name in classes[:MOST_CLASSES])})
