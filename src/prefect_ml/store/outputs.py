"""Outputs: which logged models runs made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_ml.entities import ModelOutput
from prefect_ml.store.logged_model_names import check_model_id
from prefect_ml.store.names import check_step
from prefect_ml.store.rows import Rows
from prefect_ml.store.run_models import write_made_models
from prefect_ml.store.runs import active_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


class OutputRows(Rows):
    def log_outputs(self, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        checked = [ModelOutput(check_model_id(each.model_id), check_step("A step", each.step)) for each in outputs]

        def work(connection: Connection) -> None:
            write_made_models(connection, active_run(connection, run_id), checked)

        self.database.write(work)
