"""Gates that let the candidate and the champion predict for the same evaluation set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from prefect_ml.errors import InvalidInputError
from prefect_ml.registry.evaluation import EvaluationSet, fetch_set
from prefect_ml.registry.gate import Candidate, Finite, GateBase, GateName, Text, Verdict

if TYPE_CHECKING:
    from prefect_ml.registry.outcomes import Outcomes
    from prefect_ml.registry.scores import Scorer

MetricName = Literal["accuracy", "f1", "precision", "recall", "auc", "log_loss", "mae", "rmse", "r2"]
_LESS_IS_BETTER = frozenset({"log_loss", "mae", "rmse"})
_SHOWN = 50
_DIGITS = 6


class _OnSet(GateBase):
    """What these gates share.

    Attributes:
        data: the evaluation set.
        metric: by the definition of scikit-learn.
        positive: the positive label of a metric of two labels; the greater one by default.
        trust: false withholds the operator's trust from both models.
    """

    apart: ClassVar[bool] = True

    data: EvaluationSet
    metric: MetricName
    positive: str | int | bool | None = None
    trust: bool = True

    def prepare(self, candidate: Candidate) -> Mapping[str, str]:
        return {"set": str(fetch_set(self.data, candidate.subject.store, candidate.subject.settings))}

    def _outcomes(self, candidate: Candidate, column: str | None = None) -> Outcomes:
        from pathlib import Path  # noqa: PLC0415

        from prefect_ml.registry.outcomes import predict_rows  # noqa: PLC0415 - numpy and pandas, where they are needed
        from prefect_ml.registry.scores import KINDS  # noqa: PLC0415

        prepared = candidate.prepared or self.prepare(candidate)
        models = {"candidate": candidate.subject.load(trust=self.trust)}
        if candidate.champion is not None:
            models["champion"] = candidate.champion.load(trust=self.trust)
        needs = KINDS[self.metric].needs
        path = Path(prepared["set"])
        return predict_rows(path, self.data, models, needs, positive=self.positive, column=column)

    def _scorer(self, found: Outcomes, role: str, rows: Any = slice(None)) -> Scorer:
        from prefect_ml.registry.scores import scorer  # noqa: PLC0415 - numpy, where it is needed

        return scorer(self.metric, found.truth[rows], found.predicted[role][rows], self.positive)

    def _evidence(self, found: Outcomes, candidate: Candidate) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "set": self.data.uri,
            "set_digest": self.data.digest,
            "rows": len(found.truth),
            "champion_version": candidate.champion.version.version if candidate.champion else None,
        }


class ComparedWithChampion(_OnSet):
    """On the same rows, the candidate is better than the champion by `margin` with confidence.

    The rows are resampled (paired bootstrap), and the lower end of the interval of the gain must reach `margin`, which
    is in the metric's own unit; a negative one lets the candidate be a little worse. Without a champion it passes, and
    says so.
    """

    type: Literal["compared_with_champion"] = "compared_with_champion"
    name: GateName = "compared_with_champion"
    margin: Finite = 0.0
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0

    def judge(self, candidate: Candidate) -> Verdict:
        from prefect_ml.registry.scores import bootstrap, value_of  # noqa: PLC0415 - numpy, where it is needed

        found = self._outcomes(candidate)
        rows = len(found.truth)
        own = self._scorer(found, "candidate")
        value = value_of(own, rows)
        evidence = {**self._evidence(found, candidate), "value": _rounded(value), "margin": self.margin}
        if candidate.champion is None:
            summary = (
                f"{self.metric} is {value:.4g} on {rows} rows; nothing holds @{candidate.alias} yet to compare with"
            )
            return Verdict(True, summary, evidence)
        held = self._scorer(found, "champion")
        gain = bootstrap(
            own, held, rows, more_is_better=self.metric not in _LESS_IS_BETTER, resamples=self.resamples,
            confidence=self.confidence, seed=self.seed,
        )  # fmt: skip
        best = value_of(held, rows)
        evidence |= {
            "champion_value": _rounded(best),
            "gain": _rounded(gain.value),
            "interval": [_rounded(gain.lower), _rounded(gain.upper)],
            "confidence": self.confidence,
            "resamples": self.resamples,
            "undefined_resamples": gain.undefined,
            "seed": self.seed,
        }
        passed = gain.lower >= self.margin
        interval = f"between {gain.lower:.4g} and {gain.upper:.4g} at {self.confidence:.0%}"
        words = "reaches" if passed else "does not surely reach"
        return Verdict(
            passed,
            f"{self.metric} is {value:.4g}, the champion's {best:.4g} on the same {rows} rows; the gain, {interval}, "
            f"{words} the margin {self.margin:g}",
            evidence,
        )


class Slices(_OnSet):
    """No group of rows that have one value in `column` is too bad.

    Groups with fewer than `min_rows` rows are named, not judged. `minimum` bounds a metric of which more is better,
    `maximum` one of which less is better; `max_drop` bounds how much worse than the champion a group may be.
    """

    type: Literal["slices"] = "slices"
    name: GateName = "slices"
    column: Text
    min_rows: Annotated[int, Field(ge=1)] = 30
    minimum: Finite | None = None
    maximum: Finite | None = None
    max_drop: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _has_bounds(self) -> Slices:
        less = self.metric in _LESS_IS_BETTER
        if less and self.minimum is not None:
            raise ValueError(f"of {self.metric} less is better, so the gate {self.name!r} takes a maximum")
        if not less and self.maximum is not None:
            raise ValueError(f"of {self.metric} more is better, so the gate {self.name!r} takes a minimum")
        if (self.minimum, self.maximum, self.max_drop) == (None, None, None):
            raise ValueError(f"the gate {self.name!r} needs a minimum, a maximum or max_drop")
        return self

    def judge(self, candidate: Candidate) -> Verdict:
        found = self._outcomes(candidate, self.column)
        judged, small = [], []
        for at, group in enumerate(found.groups):
            rows = found.group == at
            count = int(rows.sum())
            if count < self.min_rows:
                small.append({"group": group, "rows": count})
            else:
                judged.append(self._group(found, group, rows, count))
        bad = [each for each in judged if each["wrong"]]
        evidence = {
            **self._evidence(found, candidate),
            "column": self.column,
            "min_rows": self.min_rows,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "max_drop": self.max_drop,
            "groups": (bad + [each for each in judged if not each["wrong"]])[:_SHOWN],
            "groups_count": len(judged),
            "bad_count": len(bad),
            "small": small[:_SHOWN],
            "small_count": len(small),
        }
        if not judged:
            return Verdict(False, f"no group of {self.column!r} has {self.min_rows} rows, so none is judged", evidence)
        if bad:
            more = f", and {len(bad) - 1} more groups" if len(bad) > 1 else ""
            summary = f"{self.column} = {bad[0]['group']!r} ({bad[0]['rows']} rows): {bad[0]['wrong']}{more}"
            return Verdict(False, summary, evidence)
        compared = "" if candidate.champion or self.max_drop is None else "; there is no champion to compare with"
        return Verdict(True, f"all {len(judged)} groups of {self.column!r} are within bounds{compared}", evidence)

    def _group(self, found: Outcomes, group: str, rows: Any, count: int) -> dict[str, Any]:
        from prefect_ml.registry.scores import value_of  # noqa: PLC0415 - numpy, where it is needed

        values: dict[str, float] = {}
        for role in found.predicted:
            try:
                values[role] = value_of(self._scorer(found, role, rows), count)
            except InvalidInputError as error:
                return {"group": group, "rows": count, "value": None, "wrong": str(error)}
        told = {"group": group, "rows": count, "value": _rounded(values["candidate"])}
        if "champion" in values:
            told["champion_value"] = _rounded(values["champion"])
        return {**told, "wrong": self._wrong(values["candidate"], values.get("champion"))}

    def _wrong(self, value: float, held: float | None) -> str:
        """What is wrong with a group, "" when nothing is; a metric without a value is."""
        if value != value:  # noqa: PLR0124 - NaN
            return f"{self.metric} has no value there"
        if self.minimum is not None and value < self.minimum:
            return f"{self.metric} is {value:.4g}, below {self.minimum:g}"
        if self.maximum is not None and value > self.maximum:
            return f"{self.metric} is {value:.4g}, above {self.maximum:g}"
        drop = 0.0 if held is None else (value - held if self.metric in _LESS_IS_BETTER else held - value)
        if self.max_drop is not None and drop > self.max_drop:
            return f"{self.metric} is {value:.4g}, and the champion's {held:.4g}"
        return ""


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
