"""Importing skops without PyTorch and Dask, and at choice without every estimator that scikit-learn has.

`import skops.io` asks scikit-learn for all of its estimators, to trust them. That imports all of scikit-learn and of
SciPy, and PyTorch and Dask where they are installed: seconds, and hundreds of megabytes that a process keeps for ever.
Those two come by packages in which scikit-learn looks for no estimator, so the list is the same without them. A process
that only serves needs the estimators of its model.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

# Parts of modules' names that scikit-learn's own list of estimators leaves out (sklearn.utils.discovery).
_LEFT_OUT = frozenset({"tests", "externals", "setup", "conftest", "experimental", "estimator_checks"})
# Packages that import what they are named after.
_ADAPTERS = tuple(f"sklearn.externals.array_api_compat.{library}" for library in ("torch", "dask", "cupy"))


class _Choice:
    lean = False


def be_lean() -> None:
    """From now on, import skops without its list of estimators, unless that has happened already.

    For a process that does nothing but serve: to anything else in it that used skops, estimators would seem untrusted.
    """
    _Choice.lean = True


def import_skops() -> ModuleType:
    """The module `skops.io`.

    Raises:
        ModuleNotFoundError: skops is not installed.
    """
    if "skops.io" in sys.modules:
        return importlib.import_module("skops.io")
    if not _Choice.lean:
        with _without_adapters():
            return importlib.import_module("skops.io")
    utils: Any = importlib.import_module("sklearn.utils")
    all_estimators = utils.all_estimators
    utils.all_estimators = list
    try:
        return importlib.import_module("skops.io")
    finally:
        utils.all_estimators = all_estimators


@contextlib.contextmanager
def _without_adapters() -> Iterator[None]:
    """Have the import of scikit-learn's adapters fail, which its search for estimators passes over."""
    hidden = [name for name in _ADAPTERS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None says that there is no such module
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def estimators_among(types: Iterable[str]) -> frozenset[str]:
    """Those of the named types that are scikit-learn's public estimators, which skops trusts when it has its list."""
    return frozenset(name for name in types if _is_estimator(name))


def _is_estimator(name: str) -> bool:
    module, _, class_name = name.rpartition(".")
    if not module.startswith("sklearn.") or _LEFT_OUT & set(module.split(".")) or class_name.startswith("_"):
        return False
    try:
        class_ = getattr(importlib.import_module(module), class_name, None)
    except ImportError:
        return False
    if not inspect.isclass(class_) or class_.__module__ != module or inspect.isabstract(class_):
        return False
    public = ".".join(part for part in module.split(".") if not part.startswith("_"))
    base = importlib.import_module("sklearn.base").BaseEstimator
    return class_ is not base and issubclass(class_, base) and _exported(class_, public)


def _exported(class_: type, module: str) -> bool:
    """Whether a public module above the class's own has it under its name."""
    while module.startswith("sklearn."):
        with contextlib.suppress(ImportError):
            if getattr(importlib.import_module(module), class_.__name__, None) is class_:
                return True
        module = module.rpartition(".")[0]
    return False
