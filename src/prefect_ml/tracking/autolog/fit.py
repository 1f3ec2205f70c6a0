"""One fit that is being recorded: bounded, counted, said at the end, and never in the way of the training."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter, OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from prefect_ml.errors import InvalidInputError, ParamConflictError
from prefect_ml.tracking import current, datasets
from prefect_ml.tracking.autolog import switch, values
from prefect_ml.tracking.autolog.contract import MOST_EVALUATIONS, MOST_FITS, MOST_PARAMS, MOST_POINTS
from prefect_ml.tracking.autolog.telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from prefect_ml.tracking.run import ActiveRun

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Tells in each run what was recorded by itself.
TAG = "prefect_ml.autolog"
_RUNS_REMEMBERED = 1000


class Fit:
    """What one fit records in a run; each failure is one warning.

    Attributes:
        run: the run.
        library: whose fit it is.
        prefix: what its names begin with: "" for the first fit of a model in the run, so that names do not clash.
    """

    def __init__(self, run: ActiveRun, library: str, prefix: str) -> None:
        self.run = run
        self.library = library
        self.prefix = prefix
        self._params = 0
        self._points = 0
        self._metrics: set[str] = set()
        self._counted: Counter[str] = Counter()
        self._notes: list[str] = []
        self._failed: set[str] = set()

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Let nothing out of the body but one warning, the first time, that names the library."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the user's training goes on, whatever fails here
            if what in self._failed:
                return
            self._failed.add(what)
            tell(
                logging.WARNING, "Autolog of %s could not record %s in run %s: %s", self.library, what, self.run.run_id,
                str(error) or repr(error),
            )  # fmt: skip

    def note(self, text: str) -> None:
        """Something to say at the end."""
        self._notes.append(text)

    def count(self, what: str, number: int = 1) -> None:
        """Count something for what is said at the end."""
        self._counted[what] += number

    def params(self, params: Mapping[str, Any]) -> None:
        """Record params until the bound is reached; values are cut."""
        with self.attempt("params"):
            room = MOST_PARAMS - self._params
            taken = itertools.islice(params.items(), max(room, 0))
            kept = {self._name(key): values.text(value) for key, value in taken}
            if len(params) > room:
                self.note(f"{len(params) - len(kept)} more params not recorded")
            self._params += len(kept)
            if kept:
                self._log_params(kept)

    def metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Record a point of each curve until the bound is reached."""
        with self.attempt("metrics"):
            self._points += len(metrics)
            if self._points > MOST_POINTS:
                if self._points - len(metrics) <= MOST_POINTS:
                    self.note(f"curves end after {MOST_POINTS} points")
                return
            named = {self._name(key): value for key, value in metrics.items()}
            self._metrics.update(named)
            self.run.log_metrics(named, step)

    def tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""
        with self.attempt("tags"):
            self.run.set_tags({self._name(key): value for key, value in tags.items()})

    def json(self, content: Any, name: str) -> None:
        """Keep plain data as a JSON artifact."""
        with self.attempt(f"the artifact {name}"):
            self.run.log_dict(content, self.prefix + name)
            self.count("artifact")

    def text(self, content: str, name: str) -> None:
        """Keep text as an artifact."""
        with self.attempt(f"the artifact {name}"):
            self.run.log_text(content, self.prefix + name)
            self.count("artifact")

    def figure(self, figure: Any, name: str) -> None:
        """Keep a figure as an artifact."""
        with self.attempt(f"the artifact {name}"):
            self.run.log_figure(figure, self.prefix + name)
            self.count("artifact")

    def file(self, path: Path) -> None:
        """Keep a file as an artifact under its own name."""
        with self.attempt(f"the artifact {path.name}"):
            self.run.log_artifact(path, self.prefix.rstrip("/"))
            self._counted[path.name] = 1

    def input(self, x: Any, y: Any = None, *, name: str = "training", context: str = "training") -> None:
        """Record data of a library that is known, by a sample of them; targets that are of none do not count."""
        if datasets.is_data(x):
            with self.attempt(f"the {context} data"):
                self.run.log_input((x, y) if datasets.is_data(y) else x, name, context=context)
                self.count("input")

    def evaluations(self, find: Callable[[], Iterable[tuple[str, Any, Any]]], training: Any) -> None:
        """Record what the fit is evaluated on: names, data and targets; the training data are an input already."""
        with self.attempt("the evaluation data"):
            others = [(name, x, y) for name, x, y in find() if x is not training]
            for name, x, y in others[:MOST_EVALUATIONS]:
                self.input(x, y, name=name, context="evaluation")
            if len(others) > MOST_EVALUATIONS:
                self.note(f"{MOST_EVALUATIONS} of {len(others)} evaluation sets")

    def model(self, model: Any, example: Any = None) -> None:
        """Keep the model when its library's safe format takes it; else say why not."""
        with self.attempt("the model"):
            try:
                self._keep(model, example)
            except InvalidInputError as error:
                self.note(f"model not kept: {error}")
                return
            self.count("model")

    def say(self) -> None:
        """One line in the log and one tag of the run: what was recorded."""
        with self.attempt("what it recorded"):
            said = self.prefix.replace("/", ": ") + self.library + ": " + ", ".join(self._parts())
            tell(logging.INFO, "Autolog recorded in run %s: %s", self.run.run_id, said)
            self.run.set_tag(TAG, _seen.said(self.run.run_id, said))

    def _log_params(self, params: dict[str, str]) -> None:
        try:
            self.run.log_params(params)
        except ParamConflictError:
            # What the user's own code has set stays; the others are recorded one by one.
            for key, value in params.items():
                try:
                    self.run.log_param(key, value)
                except ParamConflictError:
                    self._params -= 1
                    self.note(f"the param {key} keeps its earlier value")

    def _name(self, key: str) -> str:
        return values.key(self.prefix + key)

    def _keep(self, model: Any, example: Any) -> None:
        name = f"{self.prefix}model"
        if example is not None:
            try:
                self.run.log_model(model, name, input_example=example)
            except InvalidInputError as error:
                # The example's own trouble must not lose the model; the model's trouble comes again.
                logger.debug("The model of %s is kept without an example: %s", self.library, error)
            else:
                return
        self.run.log_model(model, name)

    def _parts(self) -> Iterator[str]:
        counted = {"param": self._params, "metric": len(self._metrics), **self._counted}
        for what, number in counted.items():
            if what == "model" or "." in what:
                yield what
            elif number or what in ("param", "metric"):
                yield f"{number} {what}" if number == 1 else f"{number} {what}s"
        yield from self._notes


class _Seen:
    """The fits of the runs of this process, the last runs alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, tuple[Counter[str], list[str]]] = OrderedDict()

    def prefix(self, run_id: str, step: str) -> str | None:
        """What the names of the next fit begin with; None when there were enough."""
        with self._lock:
            numbers, _ = self._of(run_id)
            numbers["all"] += 1
            if numbers["all"] > MOST_FITS:
                if numbers["all"] == MOST_FITS + 1:
                    tell(logging.WARNING, "Autolog records %d fits of run %s and no more of them.", MOST_FITS, run_id)
                return None
            numbers[f"of {step}"] += 1
            number = numbers[f"of {step}"]
        if number == 1:
            return f"{step}/" if step else ""
        return f"{step or 'fit'}-{number}/"

    def said(self, run_id: str, text: str) -> str:
        """What was said of a run so far, this included."""
        with self._lock:
            _, lines = self._of(run_id)
            lines.append(text)
            return "; ".join(lines)

    def _of(self, run_id: str) -> tuple[Counter[str], list[str]]:
        found = self._runs.setdefault(run_id, (Counter(), []))
        self._runs.move_to_end(run_id)
        while len(self._runs) > _RUNS_REMEMBERED:
            self._runs.popitem(last=False)
        return found


_seen = _Seen()
_inside: ContextVar[Fit | None] = ContextVar("prefect_ml_fit", default=None)


def inside() -> Fit | None:
    """The fit that is being recorded around this code; fits within it are its own business."""
    return _inside.get()


def wanted(library: str) -> bool:
    """Whether a fit that begins here is to be recorded, should there be a run."""
    return switch.is_on(library) and _inside.get() is None


def opened(library: str, step: Callable[[], str] = str) -> Fit | None:
    """The record of a fit that begins here; None when there is no run, or enough of its fits.

    Args:
        library: whose fit it is.
        step: names fits that only prepare data, "" for others: the name is the prefix of what they record.
    """
    try:
        run = current.find_run()
        prefix = None if run is None else _seen.prefix(run.run_id, step())
    except Exception as error:  # noqa: BLE001 - the user's training goes on, whatever fails here
        tell(logging.WARNING, "Autolog of %s records nothing of this fit: %r", library, error)
        return None
    return None if run is None or prefix is None else Fit(run, library, prefix)


def recorded(fit: Fit, call: Callable[[], T], after: Callable[[T], None], before: Callable[[], None]) -> T:
    """Call the original, and record before and after it; what it returns and raises comes out as it is."""
    token = _inside.set(fit)
    try:
        with fit.attempt("what it began with"):
            before()
        began = time.perf_counter()
        try:
            result = call()
        except BaseException as error:
            fit.note(f"the fit raised {type(error).__name__}")
            fit.say()
            raise
        fit.metrics({"fit_seconds": time.perf_counter() - began})
        with fit.attempt("what it ended with"):
            after(result)
        fit.say()
        return result
    finally:
        _inside.reset(token)
