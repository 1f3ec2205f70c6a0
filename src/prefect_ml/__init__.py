"""prefect-ml: tracking, models, registry, promotion and serving, the Prefect way."""
