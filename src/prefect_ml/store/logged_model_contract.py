"""The part of the store's port that is about logged models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prefect_ml.entities import LoggedModel, LoggedModelOrder, LoggedModelStatus, Page


class LoggedModelStore(Protocol):
    """Logged models: what runs made, before anybody registers it. All but creating raise `NotFoundError`."""

    def create_logged_model(
        self,
        experiment_id: str,
        *,
        model_id: str | None = None,
        name: str | None = None,
        model_type: str = "",
        source_run_id: str = "",
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> LoggedModel:
        """Create one in status PENDING; without an id or a name (or with an empty one), one is made up.

        Raises:
            AlreadyExistsError: the id is used.
            InactiveError: the experiment is deleted.
            InvalidNameError: the name has one of the characters / : . % " ' in it.
        """
        ...

    def get_logged_model(self, model_id: str) -> LoggedModel: ...

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        """Say whether its files are there: READY or UPLOAD_FAILED."""
        ...

    def delete_logged_model(self, model_id: str) -> None:
        """Hide it from everything; a retention sweep removes it later."""
        ...

    def set_logged_model_tags(self, model_id: str, tags: Mapping[str, str]) -> LoggedModel: ...

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Remove a tag; `NotFoundError` also when it is not there."""
        ...

    def log_logged_model_params(self, model_id: str, params: Mapping[str, str]) -> LoggedModel:
        """Add params; `ParamConflictError` when one already has another value."""
        ...

    def search_logged_models(  # noqa: PLR0917  MLflow's parameters, in MLflow's order
        self,
        experiment_ids: Sequence[str],
        filter: str = "",
        datasets: Sequence[tuple[str, str]] = (),
        order_by: Sequence[LoggedModelOrder] = (),
        max_results: int = 50,
        page_token: str | None = None,
    ) -> Page[LoggedModel]:
        """Logged models that are not deleted, the newest first by default.

        Args:
            experiment_ids: where to look.
            filter: MLflow's filter language.
            datasets: names and digests of data sets; conditions on metrics look only at what was measured on one of
                them. A digest of "" stands for any.
            order_by: sort keys; ties are broken by newest first, then by id.
            max_results: models of a page, 1 to 50,000.
            page_token: from the page before; it belongs to its search.
        """
        ...
