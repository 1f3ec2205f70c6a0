"""What a project says of itself: its entry points with their parameters, and the environment that it runs in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect_ml.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

# MLflow's four (https://mlflow.org/docs/latest/ml/projects/#parameters) and `int`.
TYPES = ("string", "float", "int", "path", "uri")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an entry point.

    Attributes:
        name: as the command names it in braces.
        type: one of `TYPES`.
        default: what it is when nobody gives it; None when somebody must.
    """

    name: str
    type: str = "string"
    default: Any = None


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A command with parameters.

    Attributes:
        name: of the entry point.
        command: text with `{parameter}` in it, or the words of a command of ours.
        parameters: by name.
    """

    name: str
    command: str | tuple[str, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DockerEnvironment:
    """The image that the entry points run in.

    Attributes:
        image: its name.
        volumes: `host path:path in the container`.
        environment: variables: a name to copy from here, or a name and a value.
    """

    image: str
    volumes: tuple[str, ...] = ()
    environment: tuple[str | tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """Distributions that the entry points need.

    Attributes:
        python: a version such as "3.11" or "3.11.7", or a range such as ">=3.10,<3.13"; None for any.
        requirements: lines as pip reads them, those of files that they name included.
        locked: whether the lines are a lock already.
    """

    python: str | None = None
    requirements: tuple[str, ...] = ()
    locked: bool = False


@dataclass(frozen=True, slots=True)
class CondaEnvironment:
    """A conda environment that needs more than Python and what pip installs.

    Attributes:
        file: the text of its file.
    """

    file: str


Environment = PythonEnvironment | CondaEnvironment | DockerEnvironment


@dataclass(frozen=True, slots=True)
class Project:
    """A project as its files define it.

    Attributes:
        name: of the project.
        entry_points: by name.
        environment: what it runs in; None for the Python that runs this.
    """

    name: str
    entry_points: Mapping[str, EntryPoint]
    environment: Environment | None = None

    def entry_point(self, name: str) -> EntryPoint:
        """The entry point of a name.

        Raises:
            NotFoundError: there is none.
        """
        if (found := self.entry_points.get(name)) is not None:
            return found
        known = ", ".join(sorted(self.entry_points)) or "none"
        raise NotFoundError(f"The project {self.name!r} has no entry point {name!r}; it has: {known}.")


def parameter(name: str, about: Any) -> Parameter:
    """A parameter as an MLproject file writes it: a type, or a mapping of `type` and `default`.

    Raises:
        InvalidInputError: it is neither.
    """
    given = about if isinstance(about, dict) else {"type": about}
    kind = given.get("type") or "string"
    if kind not in TYPES or set(given) - {"type", "default"}:
        raise InvalidInputError(
            f"The parameter {name!r} is written wrong: give a type ({', '.join(TYPES)}), or `type` and `default`."
        )
    if not name.isidentifier() and not name.replace("-", "_").isidentifier():
        raise InvalidInputError(f"The parameter {name!r} has a name that no command can hold; use letters and _.")
    return Parameter(name, kind, given.get("default"))
