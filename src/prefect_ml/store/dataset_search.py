"""What the runs of experiments used, each data set once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from prefect_ml.entities import DatasetSummary, LifecycleStage
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.compare import MAX_LIST
from prefect_ml.store.experiments import experiment_numbers
from prefect_ml.store.input_tables import CONTEXT, input_tags, inputs
from prefect_ml.store.rows import Rows
from prefect_ml.store.tables import runs

if TYPE_CHECKING:
    from collections.abc import Sequence

# What MLflow's page shows at most.
_MOST = 1000


class DatasetRows(Rows):
    def search_datasets(self, experiment_ids: Sequence[str]) -> Sequence[DatasetSummary]:
        numbers = experiment_numbers(experiment_ids)
        if len(numbers) > MAX_LIST:
            raise InvalidInputError(
                f"A search takes at most {MAX_LIST} experiments, got {len(numbers)}; search in parts."
            )
        context = func.coalesce(input_tags.c.value, "").label("context")
        columns = (runs.c.experiment, inputs.c.name, inputs.c.digest, context)
        query = select(*columns).distinct().join_from(runs, inputs, inputs.c.run == runs.c.id)
        of_context = (input_tags.c.input == inputs.c.id) & (input_tags.c.key == CONTEXT)
        query = query.outerjoin(input_tags, of_context)
        query = query.where(runs.c.experiment.in_(numbers), runs.c.lifecycle_stage == LifecycleStage.ACTIVE)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(*columns).limit(_MOST)).all()
        return [DatasetSummary(str(experiment), *facts) for experiment, *facts in rows]
