"""The handle of a run that is being recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_ml.entities import RunStart, RunStatus
from prefect_ml.tracking import capture, files, records, values
from prefect_ml.tracking.outlet import Outlet, forget, outlet_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect_ml.entities import Dataset, Run
    from prefect_ml.models.signature import Signature
    from prefect_ml.tracking.models import LoggedModel

_PER_RECORD = 1000


class ActiveRun:
    """Records params, metrics, tags, artifacts and models of one run, from any thread or process.

    It is known by its id alone, so it can be pickled into another process, and used there at once. Calls
    append to a journal and return; they raise for input that cannot be meant, never for a store that is
    away.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._cached: Outlet | None = None

    def __repr__(self) -> str:
        return f"ActiveRun({self.run_id!r})"

    def __reduce__(self) -> tuple[type[ActiveRun], tuple[str]]:
        return ActiveRun, (self.run_id,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActiveRun) and other.run_id == self.run_id

    def __hash__(self) -> int:
        return hash(self.run_id)

    @property
    def outlet(self) -> Outlet:
        """Where this process records the run."""
        found = self._cached
        if found is None or found.forked:
            found = self._cached = outlet_of(self.run_id)
        return found

    def begin(self, start: RunStart, *, source_file: str | None = None, own_code: bool = True) -> None:
        """Create the run, or continue it; where it came from is looked up in the background."""
        outlet = self.outlet
        folder = capture.source_folder(source_file) if own_code else None
        outlet.begin(start, capture.Capture(outlet.settings, folder))

    def log_param(self, key: str, value: object) -> None:
        """Record a param; see `log_params`."""
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record params: text as it is, collections as JSON, anything else by `str`, cut at 6000 characters.

        Raises:
            ParamConflictError: one was set to another value before; none is recorded.
            InvalidInputError: a name that the store refuses.
        """
        given = values.mapping(params, "Params")
        texts = {values.name(key, "param"): values.param_value(key, value) for key, value in given.items()}
        for part in _parts(texts):
            self.outlet.set_params(part)

    def log_metric(self, key: str, value: object, step: int = 0, timestamp: int | None = None) -> None:
        """Record one point of a curve; see `log_metrics`."""
        # Called in the loops of training, so it takes the shortest way.
        name = values.name(key, "metric")
        number, at, when = values.metric_value(key, value), values.step_value(step), values.timestamp_value(timestamp)
        outlet = self.outlet
        outlet.record(records.metric_record(name, number, at, when, outlet.source))

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0, timestamp: int | None = None) -> None:
        """Record a point of each curve.

        Args:
            metrics: numbers by name, numpy and torch scalars included.
            step: where on the curves, a whole number.
            timestamp: milliseconds since the epoch; now by default.

        Raises:
            InvalidInputError: a value that is no number, a step that is no whole number, or a name that the
                store refuses; none is recorded.
        """
        given = values.mapping(metrics, "Metrics")
        numbers = {values.name(k, "metric"): values.metric_value(k, v) for k, v in given.items()}
        at, when = values.step_value(step), values.timestamp_value(timestamp)
        outlet = self.outlet
        for part in _parts(numbers):
            outlet.record(records.metrics_record(part, at, when, outlet.source))

    def set_tag(self, key: str, value: object) -> None:
        """Set a tag, by `str`; a later value replaces it."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags.

        Raises:
            InvalidInputError: a name that the store refuses; none is set.
        """
        given = values.mapping(tags, "Tags")
        texts = {values.name(key, "tag"): values.tag_value(key, value) for key, value in given.items()}
        outlet = self.outlet
        for part in _parts(texts):
            outlet.record(records.tags_record(part, outlet.source))

    def log_input(
        self,
        data: Any,
        name: str | None = None,
        *,
        context: str | None = "training",
        source: str | Path | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """Record that the run uses a data set: name, digest of a sample, schema, size and source, and nothing of it.

        Args:
            data: a frame or series of pandas or polars, an array of numpy, a table of Arrow, a `DMatrix` of
                XGBoost, a dict or tuple of these, a path or URL of a file or folder, or a `Dataset`.
            name: the file's without its suffix by default, else the library's.
            context: what it is used for, for example "training" or "evaluation"; None to say nothing.
            source: path or URL that it was read from; this program when it is not told.
            tags: further facts of this use.

        Returns:
            The data set as it is recorded. What cannot be read is one warning, and is recorded with what is known.

        Raises:
            InvalidInputError: a name, tag or hand-made `Dataset` that the store refuses.
        """
        from prefect_ml.tracking import datasets  # noqa: PLC0415 - only those who use it pay for its import

        return datasets.log_input(self.outlet, data, name, context, source, tags)

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Keep a file under its own name, below `folder` of the run's artifacts.

        Raises:
            InvalidInputError: there is no such file.
            InvalidNameError: `folder` would leave the run's artifacts.
        """
        files.log_artifact(self.outlet, path, folder)

    def log_artifacts(self, path: str | Path, folder: str = "") -> None:
        """Keep all files below a local folder in `folder` of the run's artifacts, as `log_artifact` does."""
        files.log_artifacts(self.outlet, path, folder)

    def log_text(self, text: str, name: str) -> None:
        """Keep text as the artifact `name`, in UTF-8."""
        files.log_text(self.outlet, text, name)

    def log_dict(self, content: Mapping[str, Any] | list[Any], name: str) -> None:
        """Keep plain data as the artifact `name`: YAML for `.yaml` and `.yml`, else JSON."""
        files.log_dict(self.outlet, content, name)

    def log_figure(self, figure: Any, name: str) -> None:
        """Keep a figure of matplotlib (format by the suffix of `name`) or plotly (`.html`, or an image).

        Raises:
            InvalidInputError: it is no figure, or cannot be kept in that format.
        """
        files.log_figure(self.outlet, figure, name)

    def log_model(
        self,
        model: Any,
        name: str = "model",
        *,
        input_example: Any = None,
        register: str | None = None,
        signature: Signature | None = None,
        flavor: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        allow_pickle: bool = False,
        serialization_format: str | None = None,
    ) -> LoggedModel:
        """Keep a model as a folder of the run's artifacts, and register it when asked.

        Args:
            model: a model of a known library; any Python object with `allow_pickle`.
            name: the folder.
            input_example: a few rows; the signature is inferred from them and from what the model predicts.
            register: name of the registered model that gets it as its next version.
            signature: instead of the one inferred.
            flavor: the format; found by the model's type by default.
            metadata: plain data kept with the model.
            allow_pickle: whether it may be pickled when its library has no safe format.
            serialization_format: "skops" (the default) or "cloudpickle", for estimators of scikit-learn and LightGBM.

        Raises:
            InvalidInputError: it cannot be saved, or fails on its example.
        """
        from prefect_ml.tracking import models  # noqa: PLC0415 - only those who use it pay for its import

        return models.log_model(
            self.outlet, model, name, register=register, input_example=input_example, signature=signature,
            flavor=flavor, metadata=metadata, allow_pickle=allow_pickle, serialization_format=serialization_format,
        )  # fmt: skip

    def get(self) -> Run:
        """The run as it is in the store, all that this process recorded included.

        Raises:
            StoreUnavailableError: the store is away.
        """
        return self.outlet.get_run()

    @property
    def artifact_uri(self) -> str:
        """Root of the run's artifacts; raises as `get`."""
        return self.outlet.artifact_uri

    def flush(self, timeout: float | None = None, *, patient: bool = True) -> bool:
        """Wait until what this process recorded is in the store; whether it is.

        Args:
            timeout: seconds; the setting `flush_timeout` by default.
            patient: whether to go on waiting when the store is away.
        """
        return self.outlet.flush(timeout, patient=patient)

    def end(
        self, status: RunStatus = RunStatus.FINISHED, *, end_time: int | None = None, number: int = 0, wait: bool = True
    ) -> None:
        """Record the end, and wait up to the setting `flush_timeout` until the store has everything.

        Args:
            status: a status that ends a run, or SCHEDULED when it is suspended and will be resumed.
            end_time: when, in ms; now by default.
            number: number of the attempt that ended, when another process executed it; 0 when it is not known.
            wait: whether to wait.
        """
        outlet = self.outlet
        outlet.end(status, values.now_ms() if end_time is None else end_time, number)
        forget(outlet)
        if wait:
            outlet.flush()


def _parts(items: dict[str, Any]) -> list[dict[str, Any]]:
    """Pieces that are small enough for one record; none for nothing."""
    if 0 < len(items) <= _PER_RECORD:
        return [items]
    pairs = list(items.items())
    return [dict(pairs[at : at + _PER_RECORD]) for at in range(0, len(pairs), _PER_RECORD)]
