"""What each noun may be filtered and ordered by (from MLflow's published search syntax)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from prefect_ml.query.tree import Entity, Operator

NUMERIC: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=")
TEXT: tuple[Operator, ...] = ("=", "!=", "LIKE", "ILIKE")
TEXT_OR_LIST: tuple[Operator, ...] = (*TEXT, "IN", "NOT IN")


class Kind(Enum):
    """What an attribute holds, and so which operators it takes."""

    NUMBER = NUMERIC
    TEXT = TEXT
    ID = TEXT_OR_LIST

    @property
    def operators(self) -> tuple[Operator, ...]:
        return self.value


# What is asked of the data sets that a run used; each comparison holds when it does for one of them.
DATASET_KEYS = ("name", "digest", "context")

# Every spelling of an entity; a bare key is an attribute.
ENTITIES: Mapping[str, Entity] = MappingProxyType(
    {
        "metric": "metric",
        "metrics": "metric",
        "param": "param",
        "params": "param",
        "parameter": "param",
        "parameters": "param",
        "tag": "tag",
        "tags": "tag",
        "dataset": "dataset",
        "datasets": "dataset",
        "attribute": "attribute",
        "attributes": "attribute",
        "attr": "attribute",
        "run": "attribute",
    }
)


@dataclass(frozen=True)
class Grammar:
    """The searchable nouns' own words.

    Attributes:
        attributes: what may be filtered by, and its kind.
        entities: which entities besides attributes there are.
        aliases: other spellings of attributes.
        sortable: attributes that may be ordered by.
        pair_operators: what params and tags take.
    """

    attributes: Mapping[str, Kind]
    entities: frozenset[Entity]
    sortable: frozenset[str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    pair_operators: tuple[Operator, ...] = TEXT

    def operators(self, entity: Entity, key: str) -> tuple[Operator, ...]:
        """The operators that an identifier takes."""
        if entity == "attribute":
            return self.attributes[key].operators
        if entity == "dataset":
            return TEXT_OR_LIST
        return NUMERIC if entity == "metric" else self.pair_operators


RUNS = Grammar(
    attributes={
        "run_id": Kind.ID,
        "run_name": Kind.TEXT,
        "status": Kind.TEXT,
        "user_id": Kind.TEXT,
        "artifact_uri": Kind.TEXT,
        "start_time": Kind.NUMBER,
        "end_time": Kind.NUMBER,
    },
    entities=frozenset({"metric", "param", "tag", "dataset"}),
    sortable=frozenset({"run_id", "run_name", "status", "user_id", "artifact_uri", "start_time", "end_time"}),
    aliases={
        "run name": "run_name",
        "Run name": "run_name",
        "Run Name": "run_name",
        "created": "start_time",
        "Created": "start_time",
    },
)
EXPERIMENTS = Grammar(
    attributes={
        "name": Kind.TEXT,
        "experiment_id": Kind.ID,
        "creation_time": Kind.NUMBER,
        "last_update_time": Kind.NUMBER,
    },
    entities=frozenset({"tag"}),
    sortable=frozenset({"name", "experiment_id", "creation_time", "last_update_time"}),
)
REGISTERED_MODELS = Grammar(
    attributes={"name": Kind.ID},
    entities=frozenset({"tag"}),
    sortable=frozenset({"name", "last_updated_timestamp"}),
    aliases={"timestamp": "last_updated_timestamp"},
)
MODEL_VERSIONS = Grammar(
    attributes={
        "name": Kind.ID,
        "version_number": Kind.NUMBER,
        "run_id": Kind.ID,
        "source_path": Kind.TEXT,
    },
    entities=frozenset({"tag"}),
    sortable=frozenset({"name", "version_number", "creation_timestamp", "last_updated_timestamp"}),
)
LOGGED_MODELS = Grammar(
    attributes={
        "model_id": Kind.ID,
        "name": Kind.ID,
        "model_type": Kind.ID,
        "status": Kind.ID,
        "source_run_id": Kind.ID,
        "experiment_id": Kind.ID,
        "artifact_location": Kind.ID,
        "creation_timestamp": Kind.NUMBER,
        "last_updated_timestamp": Kind.NUMBER,
    },
    entities=frozenset({"metric", "param", "tag"}),
    sortable=frozenset(
        {
            "model_id",
            "name",
            "model_type",
            "status",
            "source_run_id",
            "experiment_id",
            "artifact_location",
            "creation_timestamp",
            "last_updated_timestamp",
        }
    ),
    aliases={
        "artifact_uri": "artifact_location",
        "creation_time": "creation_timestamp",
        "creation_timestamp_ms": "creation_timestamp",
        "last_updated_time": "last_updated_timestamp",
        "last_updated_timestamp_ms": "last_updated_timestamp",
    },
    pair_operators=TEXT_OR_LIST,
)
