"""A flow of the user's own as a gate; `prefect_ml.flows.gates` runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from prefect_ml.registry.gate import Candidate, GateBase, GateName, Verdict

# What the flow is given besides the parameters of the specification.
GIVEN = ("name", "version", "alias", "request_key")


class FlowGate(GateBase):
    """A run of a deployment says whether the candidate passes.

    The flow is given `name`, `version`, `alias` and `request_key` besides `parameters`. It passes the candidate by
    returning `{"passed": True, "summary": "...", "evidence": {...}}` with `persist_result=True` and
    `result_serializer="json"`, or without persisted results by returning `Completed(name="Passed", message="...")`.
    All else fails the gate: another result, no result, a run that fails, is cancelled, or does not end in time.

    Attributes:
        deployment: `<flow name>/<deployment name>`.
        parameters: further parameters of the flow.
    """

    type: Literal["flow"] = "flow"
    name: GateName = "flow"
    deployment: Annotated[str, Field(pattern=r"^[^/\s][^/]{0,199}/[^/]{1,200}$")]
    parameters: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("parameters")
    @classmethod
    def _leaves_ours(cls, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        if taken := sorted(set(GIVEN) & set(parameters)):
            raise ValueError(f"{taken[0]!r} is given to the flow anyway; leave it out")
        return parameters

    def judge(self, candidate: Candidate) -> Verdict:  # noqa: ARG002 - it is judged elsewhere
        return Verdict(
            False,
            f"the deployment {self.deployment!r} judges this gate, and only the flow promote-model runs it; ask for "
            "the promotion by `prefect-ml promote`",
            {"deployment": self.deployment},
        )
