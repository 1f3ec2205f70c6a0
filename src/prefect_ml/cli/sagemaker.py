"""`prefect-ml sagemaker`."""

from __future__ import annotations

from cyclopts import App

from prefect_ml.cli.output import Json, console, print_fields, print_json

app = App(name="sagemaker", help="Serve models by Amazon SageMaker.")


@app.command
def deploy(
    model_uri: str,
    *,
    name: str,
    image: str,
    role: str,
    place: str,
    instance_type: str = "ml.m5.large",
    instances: int = 1,
    env: dict[str, str] | None = None,
    timeout: float = 1800.0,
    json: Json = False,
) -> None:
    """Create an endpoint that serves a model, or update it without a pause, and wait until it is in service.

    Args:
        model_uri: `models:/churn@champion`, `models:/churn/3`, `runs:/RUN_ID/model` or a model folder.
        name: Of the endpoint.
        image: Made by `prefect-ml build-image`, in ECR.
        role: ARN of the role that SageMaker takes.
        place: s3://bucket/folder that the model is put into.
        instance_type: What it runs on.
        instances: How many.
        env: Variables of the container, as `--env.PREFECT_ML_SERVE_THREADS 8`; no secrets.
        timeout: Seconds until it must be in service.
        json: Print JSON for programs.
    """
    from prefect_ml.deploying import sagemaker  # noqa: PLC0415 (loads what models need)
    from prefect_ml.settings import Settings  # noqa: PLC0415
    from prefect_ml.store import open_store  # noqa: PLC0415

    deployed = sagemaker.deploy(
        open_store(),
        model_uri,
        name,
        image=image,
        role=role,
        place=place,
        settings=Settings(),
        capacity=sagemaker.Capacity(instance_type, instances, env or {}),
        timeout=timeout,
    )
    if json:
        print_json(deployed._asdict())
    else:
        print_fields(f"The endpoint {name} is in service", deployed._asdict())


@app.command
def delete(name: str, *, timeout: float = 600.0) -> None:
    """Delete an endpoint with its configuration and its model; what lies in S3 stays.

    Args:
        name: Of the endpoint.
        timeout: Seconds until it must be gone.
    """
    from prefect_ml.deploying import sagemaker  # noqa: PLC0415

    sagemaker.delete(name, timeout=timeout)
    console.print(f"The endpoint {name} is deleted.", markup=False, highlight=False)
