"""What images, Kubernetes and SageMaker take as names; everything that people give is checked here first."""

from __future__ import annotations

import re

from prefect_ml.errors import InvalidInputError

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names: 63 characters, of which some
# are left for the endings of pods. SageMaker takes what this takes.
_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,43}[a-z0-9])?", re.ASCII)
# https://github.com/distribution/reference: [host[:port]/]path[:tag][@digest]
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_LONGEST_IMAGE = 512


def deployment_name(name: str) -> str:
    """The name of a deployment, as it was given.

    Raises:
        InvalidInputError: Kubernetes or SageMaker would refuse it.
    """
    if not _LABEL.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} is no name of a deployment; use at most 45 small letters, digits and hyphens, beginning with a "
            "letter and ending with a letter or a digit."
        )
    return name


def image_reference(image: str) -> str:
    """The reference of a container image, as it was given.

    Raises:
        InvalidInputError: it is none, or says neither a tag nor a digest, so that it would be another image tomorrow.
    """
    match = _IMAGE.fullmatch(image) if len(image) <= _LONGEST_IMAGE else None
    if match is None:
        raise InvalidInputError(f"{image[:200]!r} is no name of an image; write it like 'registry.example/churn:3'.")
    if match["tag"] in (None, "latest") and match["digest"] is None:
        raise InvalidInputError(
            f"The image {image!r} has no tag of its own, so what runs would change unseen; write it like '{image}:3'."
            if match["tag"] is None
            else f"The tag of {image!r} moves, so what runs would change unseen; give the image a tag of its own."
        )
    return image
