"""Search spaces: what a parameter may be, as plain data that a form, YAML or JSON can hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prefect_ml.errors import InvalidInputError

MOST_TRIALS = 10_000
_ROUNDING = 1e-9


class Choice(BaseModel):
    """One of some values, written as a list; the values are any plain data."""

    model_config = ConfigDict(frozen=True)

    values: tuple[Any, ...] = Field(min_length=1, max_length=MOST_TRIALS)

    @model_validator(mode="after")
    def _plain_and_different(self) -> Self:
        try:
            texts = [orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for value in self.values]
        except TypeError as error:
            raise ValueError(f"its values must be plain data (numbers, texts, lists): {error}") from error
        if len(set(texts)) < len(texts):
            raise ValueError("it lists a value twice; list each once")
        return self

    def grid(self) -> tuple[Any, ...]:
        return self.values

    def place(self, value: Any) -> int:
        """Where an equal value stands; True and 1 are not equal."""
        return [orjson.dumps(one) for one in self.values].index(orjson.dumps(value))

    def draw(self, random: Random) -> Any:
        return self.values[random.randrange(len(self.values))]


class Range(BaseModel):
    """A number between two bounds, both included, written as `{"low": 1e-5, "high": 0.1, "log": true}`.

    Attributes:
        low: the least value.
        high: the largest value.
        log: whether each order of magnitude is equally likely.
        whole: whether it is a whole number; written `int`.
        step: distance of the values from `low` on; for whole numbers 1 by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    low: float
    high: float
    log: bool = False
    whole: bool = Field(default=False, alias="int")
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _meant(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"its low {self.low:g} must be less than its high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"with log its low must be above 0, not {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; leave one out")
        numbers = (self.low, self.high) if self.step is None else (self.low, self.high, self.step)
        if self.whole and not all(number.is_integer() for number in numbers):
            raise ValueError("with int its low, high and step must be whole numbers")
        return self

    @property
    def count(self) -> int | None:
        """How many values there are; None for a continuum."""
        step = self.step or (1.0 if self.whole else None)
        return None if step is None else math.floor((self.high - self.low) / step + _ROUNDING) + 1

    @property
    def top(self) -> float:
        """The largest value that the steps reach."""
        return self.high if self.count is None else self._at(self.count - 1)

    def grid(self) -> tuple[Any, ...]:
        if self.count is None:
            raise ValueError("a grid needs its step, or a list of values")
        if self.count > MOST_TRIALS:
            raise ValueError(f"it has {self.count} values and a grid at most {MOST_TRIALS}; take a larger step")
        return tuple(self._at(number) for number in range(self.count))

    def draw(self, random: Random) -> int | float:
        if self.log:
            drawn = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
            drawn = min(max(drawn, self.low), self.high)
            return round(drawn) if self.whole else drawn
        return random.uniform(self.low, self.high) if self.count is None else self._at(random.randrange(self.count))

    def _at(self, number: int) -> int | float:
        step = self.step or 1.0
        # 12 digits: 0.1 and not 0.30000000000000004 for what people write with few
        return round(self.low + number * step) if self.whole else float(f"{self.low + number * step:.12g}")


Space = Mapping[str, Choice | Range]


def parse_space(given: Mapping[str, Any]) -> Space:
    """A space of plain data, checked.

    Args:
        given: for each parameter a list of values, or a range as `Range` describes it.

    Raises:
        InvalidInputError: it is not that; names the parameter and what is wrong with it.
    """
    if not isinstance(given, Mapping) or not given:
        raise InvalidInputError(
            'A space is a mapping of parameters to lists or ranges, for example {"c": [0.1, 1], "depth": '
            '{"low": 2, "high": 10, "int": true}}; it must name at least one.'
        )
    return {str(name): _dimension(str(name), value) for name, value in given.items()}


def grid(space: Space) -> list[dict[str, Any]]:
    """Every combination, the last parameter changing fastest.

    Raises:
        InvalidInputError: a range without a step, or more combinations than a sweep can have.
    """
    axes = {name: _axis(name, dimension) for name, dimension in space.items()}
    size = math.prod(len(axis) for axis in axes.values())
    if size > MOST_TRIALS:
        raise InvalidInputError(
            f"The grid has {size} combinations and a sweep at most {MOST_TRIALS} trials; leave values out, or take "
            'method="random" with as many trials as you want.'
        )
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def draw(space: Space, seed: str) -> dict[str, Any]:
    """A random point, the same for the same seed."""
    random = Random(seed)  # noqa: S311 - a search, no secret
    return {name: dimension.draw(random) for name, dimension in space.items()}


def plain(space: Space) -> dict[str, Any]:
    """The space as data that is equal for equal spaces."""
    return {name: dimension.model_dump() for name, dimension in space.items()}


def _dimension(name: str, value: Any) -> Choice | Range:
    try:
        if isinstance(value, Choice | Range):
            return value
        if isinstance(value, Mapping):
            return Range.model_validate(dict(value))
        if isinstance(value, list | tuple):
            return Choice(values=tuple(value))
    except ValidationError as error:
        raise InvalidInputError(
            f"The parameter {name!r} of the space is wrong: {'; '.join(_sentences(error))}."
        ) from error
    raise InvalidInputError(
        f"The parameter {name!r} of the space must be a list of values or a mapping with low and high, not {value!r}."
    )


def _sentences(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        yield f"{where}: {message}" if where else message


def _axis(name: str, dimension: Choice | Range) -> tuple[Any, ...]:
    try:
        return dimension.grid()
    except ValueError as error:
        raise InvalidInputError(f"The parameter {name!r} of the space is wrong: {error}.") from error
