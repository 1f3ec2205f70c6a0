"""`prefect-ml kubernetes-manifests`."""

from __future__ import annotations

import sys
from pathlib import Path

from prefect_ml.cli.output import complaints


def kubernetes_manifests(
    served: str,
    *,
    image: str,
    name: str,
    namespace: str | None = None,
    replicas: int = 2,
    max_replicas: int | None = None,
    workers: int = 1,
    cpu: str = "500m",
    memory: str = "1Gi",
    env: dict[str, str] | None = None,
    output: Path | None = None,
) -> None:
    """Write the objects by which Kubernetes runs a served model, for `kubectl apply -f`.

    Args:
        served: `endpoint:NAME`, a model URI, or /opt/model for the model of the image.
        image: Made by `prefect-ml build-image`, with a tag of its own or a digest.
        name: Of the objects, and of the Secret that holds the token and the store's URL.
        namespace: Of the objects.
        replicas: Pods, or the least of them.
        max_replicas: The most pods that an autoscaler makes; no autoscaler when not given.
        workers: Serving processes of each pod.
        cpu: Cores that each pod asks for.
        memory: Memory that each pod asks for, and may take at most.
        env: Further variables, as `--env.PREFECT_ML_SERVE_THREADS 8`; no secrets.
        output: File to write; standard output when not given.
    """
    from prefect_ml.deploying import kubernetes  # noqa: PLC0415
    from prefect_ml.settings import Settings  # noqa: PLC0415

    place = kubernetes.Place(
        namespace=namespace,
        replicas=replicas,
        max_replicas=max_replicas,
        workers=workers,
        cpu=cpu,
        memory=memory,
        drain=Settings().serve_drain,
        environment=env or {},
    )
    text = kubernetes.to_yaml(kubernetes.manifests(served, image=image, name=name, place=place))
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
    keys = [kubernetes.TOKEN_KEY, *([kubernetes.STORE_KEY] if kubernetes.needs_store(served) else [])]
    complaints.print(f"The Secret {name} must hold: {', '.join(keys)}.", markup=False, highlight=False)
