"""What the file of one library offers, and how far recording may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from types import ModuleType

    from prefect_ml.tracking.autolog.patches import Patches

# Fits of one run that are recorded; the others are said once.
MOST_FITS: Final = 20
# Params of one fit.
MOST_PARAMS: Final = 200
# Characters of one param.
LONGEST_VALUE: Final = 500
# Items of a collection that are written out in a param.
MOST_ITEMS: Final = 50
# Points of all curves of one fit.
MOST_POINTS: Final = 100_000
# Rows that training metrics are computed on; of more, every n-th is taken.
MOST_METRIC_ROWS: Final = 100_000
# Evaluation sets of one fit that are inputs.
MOST_EVALUATIONS: Final = 10
# Classes that are named.
MOST_CLASSES: Final = 100
# Candidates of a search that become child runs, the best ones.
MOST_CHILDREN: Final = 50
# Rows of the table of a search's candidates.
MOST_TABLE_ROWS: Final = 10_000
# Features in a list of importances, the most important ones.
MOST_IMPORTANCES: Final = 1000
# Features in the plot of them.
MOST_BARS: Final = 30
# Rows of the input example of a model.
EXAMPLE_ROWS: Final = 5


class Autologger(Protocol):
    """A module `prefect_ml.tracking.autolog.<library>`, imported only after the library was."""

    LIBRARY: str

    def install(self, module: ModuleType) -> Patches:
        """Replace functions of a module of the library that was just imported; `undo` restores them."""
        ...
