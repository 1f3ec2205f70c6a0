"""The card of a model on the pages of Prefect, with links to those pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.utilities.urls import url_for

from prefect_ml.lineage.card import LONGEST, model_card

if TYPE_CHECKING:
    from prefect_ml.entities import PromotionRequest
    from prefect_ml.store.contract import Store

# A form keeps its text with the state of its flow run.
LONGEST_OF_A_FORM = 20_000


def promotion_card(store: Store, request: PromotionRequest, *, longest: int = LONGEST) -> str:
    """What a person sees of a promotion request; see `prefect_ml.lineage.card.model_card`."""
    return model_card(store, request, _url, longest=longest)


def _url(kind: str, id: str) -> str:
    if kind == "artifacts":
        page = url_for("flow-run", obj_id=id)
        return f"{page}?tab=Artifacts" if page else ""
    return url_for(kind, obj_id=id) or ""
