"""What an image starts: `prefect-ml`, with what the places that run images leave out.

Kubernetes and `docker run` give the whole command line. SageMaker gives the one word `serve` and puts the model in
`/opt/ml/model` (https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MODEL_FOLDER = "/opt/model"
SAGEMAKER_FOLDER = "/opt/ml/model"
PORT = 8080
# A number, so that Kubernetes can see that it is not root.
USER = 10001


def command(arguments: list[str], *, sagemaker: Path = Path(SAGEMAKER_FOLDER)) -> list[str]:
    """The arguments of `prefect-ml`: those that are given, or, for none and for `serve` alone, the model of the image.

    Args:
        arguments: of the container.
        sagemaker: where SageMaker puts a model; it is served when there is one.
    """
    if arguments not in ([], ["serve"]):
        return arguments
    model = str(sagemaker) if (sagemaker / "MLmodel").is_file() else MODEL_FOLDER
    return ["serve", "--host", "0.0.0.0", "--port", str(PORT), "--", model]  # noqa: S104 - the container's own address


def main() -> None:
    """Become `prefect-ml`, so that it has this process's number and gets its signals."""
    executable = str(Path(sys.executable).with_name("prefect-ml"))
    os.execv(executable, [executable, *command(sys.argv[1:])])  # noqa: S606 - our own command, no shell


if __name__ == "__main__":
    main()
