"""`prefect-ml build-image`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prefect_ml.cli.output import Json, complaints, console, print_json
from prefect_ml.settings import Settings
from prefect_ml.store import open_store


def build_image(
    model_uri: str,
    *,
    tag: str,
    output: Path | None = None,
    extra: list[str] | None = None,
    wheel: Path | None = None,
    build: Annotated[bool, Parameter(negative="--no-build")] = True,
    json: Json = False,
) -> None:
    """Write the build context of an image that serves a model, and build it with docker or podman.

    Args:
        model_uri: `models:/churn@champion`, `models:/churn/3`, `runs:/RUN_ID/model` or a model folder.
        tag: Name and tag of the image, for example registry.example/churn:3.
        output: Folder of the build context, which must not be there yet; `image` when not given.
        extra: Further extras of prefect-ml, for example s3 and postgres for an image that follows an alias.
        wheel: A wheel of prefect-ml to install instead of the release.
        build: Build the image, where docker or podman is installed.
        json: Print JSON for programs.
    """
    from prefect_ml.deploying import container  # noqa: PLC0415 (loads what models need)
    from prefect_ml.deploying.names import image_reference  # noqa: PLC0415

    image_reference(tag)
    context = container.write_context(
        open_store(), model_uri, output or Path("image"), Settings(), extras=extra or (), wheel=wheel
    )
    engine = container.find_engine() if build else None
    if engine is not None:
        container.build_image(engine, context, tag)
    if json:
        print_json({**context._asdict(), "folder": str(context.folder), "tag": tag, "built": engine is not None})
        return
    console.print(f"The build context is {context.folder}, for Python {context.python}.", markup=False, soft_wrap=True)
    if engine is None:
        command = container.build_command("docker", context, tag)
        if build:
            complaints.print("There is no docker and no podman here, so no image was built.", markup=False)
        import shlex  # noqa: PLC0415

        console.print(f"Build it with: {shlex.join(command)}", markup=False, highlight=False, soft_wrap=True)
