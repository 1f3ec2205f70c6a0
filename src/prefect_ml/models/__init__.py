"""A model as a folder: format, signature, environment, flavors."""

from prefect_ml.models.from_code import set_model

__all__ = ["set_model"]
