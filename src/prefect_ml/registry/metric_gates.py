"""Gates over the metrics of the run that made a version."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prefect_ml.registry.gate import Candidate, Finite, GateBase, GateName, Text, Verdict, metric_of, point_evidence


class MetricThreshold(GateBase):
    """The metric's latest value lies within bounds, both inclusive; an absent or NaN metric fails."""

    type: Literal["metric_threshold"] = "metric_threshold"
    name: GateName = "metric_threshold"
    metric: Text
    minimum: Finite | None = None
    maximum: Finite | None = None

    @model_validator(mode="after")
    def _has_bounds(self) -> MetricThreshold:
        if self.minimum is None and self.maximum is None:
            raise ValueError(f"the gate {self.name!r} needs a minimum, a maximum or both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"the gate {self.name!r} has a minimum above its maximum, so nothing can pass")
        return self

    def judge(self, candidate: Candidate) -> Verdict:
        point, missing = metric_of(candidate.subject, self.metric)
        evidence = {
            "metric": self.metric,
            "value": None if point is None else point.value,
            "point": point_evidence(candidate.subject, point),
            "minimum": self.minimum,
            "maximum": self.maximum,
        }
        if point is None:
            return Verdict(False, missing, evidence)
        value = point.value
        if self.minimum is not None and value < self.minimum:
            return Verdict(False, f"{self.metric} is {value:g}, below the minimum {self.minimum:g}", evidence)
        if self.maximum is not None and value > self.maximum:
            return Verdict(False, f"{self.metric} is {value:g}, above the maximum {self.maximum:g}", evidence)
        return Verdict(True, f"{self.metric} is {value:g}, within its bounds", evidence)


class BetterThanChampion(GateBase):
    """The metric is better than the champion's by at least `margin` (in the metric's own unit), and never equal.

    Without a champion there is nothing to beat: it passes and says so.
    """

    type: Literal["better_than_champion"] = "better_than_champion"
    name: GateName = "better_than_champion"
    metric: Text
    direction: Literal["maximize", "minimize"] = "maximize"
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def judge(self, candidate: Candidate) -> Verdict:
        point, missing = metric_of(candidate.subject, self.metric)
        champion = candidate.champion
        evidence = {
            "metric": self.metric,
            "value": None if point is None else point.value,
            "point": point_evidence(candidate.subject, point),
            "margin": self.margin,
            "champion_version": champion.version.version if champion else None,
        }
        if point is None:
            return Verdict(False, missing, evidence)
        if champion is None:
            return Verdict(True, f"nothing holds @{candidate.alias} yet, so there is no champion to beat", evidence)
        held, missing = metric_of(champion, self.metric)
        evidence["champion_value"] = None if held is None else held.value
        evidence["champion_point"] = point_evidence(champion, held)
        if held is None:
            return Verdict(False, f"the champion cannot be compared: {missing}", evidence)
        value, best = point.value, held.value
        gain = value - best if self.direction == "maximize" else best - value
        passed = gain > 0 and gain >= self.margin
        comparison = f"{self.metric} is {value:g}, the champion's (version {champion.version.version}) {best:g}"
        wanted = f"{self.direction[:-1]}ing by a margin of {self.margin:g}"
        return Verdict(passed, f"{comparison}; {'better' if passed else 'not better'}, {wanted}", evidence)
