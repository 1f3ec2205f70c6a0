"""The objects by which Kubernetes runs a served model, made as data.

The pods meet the restricted Pod Security Standard
(https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from prefect_ml.deploying.inside import MODEL_FOLDER, PORT, USER
from prefect_ml.deploying.names import deployment_name, image_reference
from prefect_ml.errors import InvalidInputError
from prefect_ml.models.uri import ModelUri, UriKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOKEN_KEY = "serve-token"  # noqa: S105 - the name of a key in a Secret
STORE_KEY = "store-url"
_ENDPOINT = "endpoint:"
# Until every proxy of the cluster has heard that the pod goes, new connections still come to it.
_STILL_COMING = 5
# Beyond its drain, a server needs up to 5 s for a version that is being loaded.
_AFTER_DRAIN = 10
# Addresses of the machine's own: a cloud's metadata, with the machine's credentials, is among them.
_LINK_LOCAL = "169.254.0.0/16"
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without exponents
_QUANTITY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# The pod's own token is in its environment, and a probe over HTTP could not read it there.
_READY = (
    "import os, urllib.request as r; t = os.environ.get('PREFECT_ML_SERVE_TOKEN', ''); "
    f"r.urlopen(r.Request('http://127.0.0.1:{PORT}/health', headers={{'Authorization': 'Bearer ' + t}}), timeout=4)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """How much of a cluster a served model gets.

    Attributes:
        namespace: of all objects; that of the one who applies them when None.
        replicas: pods, or the least of them when there is `max_replicas`.
        max_replicas: the most pods that a HorizontalPodAutoscaler makes; None for no autoscaler.
        target_cpu: percent of the requested CPU that the autoscaler holds.
        workers: serving processes of each pod.
        cpu: cores that each pod asks for, for example `"500m"`; it may take more when the machine is idle.
        memory: what each pod asks for and may take at most, for example `"1Gi"`.
        drain: seconds that a pod goes on answering what it has in hand.
        start: seconds until a pod must serve; fetching and loading the model is in them.
        environment: further variables of the container; no secrets, which belong in the Secret.
    """

    namespace: str | None = None
    replicas: int = 2
    max_replicas: int | None = None
    target_cpu: int = 70
    workers: int = 1
    cpu: str = "500m"
    memory: str = "1Gi"
    drain: int = 20
    start: int = 300
    environment: Mapping[str, str] = field(default_factory=dict)


def manifests(served: str, *, image: str, name: str, place: Place | None = None) -> list[dict[str, Any]]:
    """The objects, in the order in which they are applied.

    A Secret of the same name is expected, and never made here: with the key `serve-token`, the bearer token of the
    model, and, unless the model is in the image, `store-url`, the URL of the store.

    Args:
        served: `endpoint:NAME` or a model URI; a folder is one inside the image.
        image: with a tag of its own or a digest.
        name: of the objects.
        place: how much it gets; two pods of half a core and 1 GiB when None.

    Raises:
        InvalidInputError: no name, image, endpoint or model URI, or numbers that cannot be meant.
    """
    place = _checked(place or Place())
    labels = {"app.kubernetes.io/name": "prefect-ml-model", "app.kubernetes.io/instance": deployment_name(name)}
    about = {"name": name, "labels": {**labels, "app.kubernetes.io/managed-by": "prefect-ml"}}
    if place.namespace is not None:
        about["namespace"] = deployment_name(place.namespace)
    stored = needs_store(served)
    made = [
        _object("networking.k8s.io/v1", "NetworkPolicy", about, _network(labels, stored=stored)),
        _object("v1", "Service", about, _service(labels)),
        _object("policy/v1", "PodDisruptionBudget", about, {"maxUnavailable": 1, "selector": {"matchLabels": labels}}),
        _object("apps/v1", "Deployment", about, _deployment(served, image_reference(image), name, labels, place)),
    ]
    if place.max_replicas is not None:
        made.append(_object("autoscaling/v2", "HorizontalPodAutoscaler", about, _autoscaler(name, place)))
    return made


def to_yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    """The objects as one stream of YAML documents, as `kubectl apply -f -` takes it."""
    return yaml.dump_all(map(dict, objects), Dumper=_Plain, sort_keys=False, explicit_start=True)


def needs_store(served: str) -> bool:
    """Whether the store is needed to serve it: for all but a folder in the image.

    Raises:
        InvalidInputError: it is neither an endpoint nor a model URI, or a folder of no absolute path.
    """
    if served.startswith(_ENDPOINT):
        if served == _ENDPOINT:
            raise InvalidInputError("Name the endpoint: endpoint:NAME.")
        return True
    if ModelUri.parse(served).kind is not UriKind.FOLDER:
        return True
    if not served.startswith("/"):
        raise InvalidInputError(
            f"{served!r} is a folder, and must be named as it is inside the image, like {MODEL_FOLDER!r}."
        )
    return False


class _Plain(yaml.SafeDumper):
    """Writes what stands in two places twice: readers of manifests do not expect anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _checked(place: Place) -> Place:
    numbers = (place.replicas, place.workers, place.drain, place.start, place.target_cpu)
    if any(number < 1 for number in numbers):
        raise InvalidInputError("Replicas, workers, drain, start and target_cpu must be 1 at least.")
    if place.max_replicas is not None and place.max_replicas < place.replicas:
        raise InvalidInputError(
            f"At most {place.max_replicas} replicas are fewer than the {place.replicas} that are wanted at least."
        )
    for quantity in (place.cpu, place.memory):
        if not _QUANTITY.fullmatch(quantity):
            raise InvalidInputError(f"{quantity!r} is no quantity of Kubernetes; write it like '500m' or '1Gi'.")
    for variable in place.environment:
        if not _VARIABLE.fullmatch(variable):
            raise InvalidInputError(f"{variable!r} is no name of an environment variable.")
    return place


def _literal(text: str) -> str:
    """Text in which Kubernetes expands nothing: `$(PREFECT_ML_SERVE_TOKEN)` in a name would show the token."""
    return text.replace("$", "$$")


def _object(version: str, kind: str, about: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": dict(about), "spec": dict(spec)}


def _deployment(served: str, image: str, name: str, labels: Mapping[str, str], place: Place) -> dict[str, Any]:
    return {
        # With an autoscaler, each `apply` of a number would undo what it did.
        **({} if place.max_replicas is not None else {"replicas": place.replicas}),
        "revisionHistoryLimit": 5,
        "selector": {"matchLabels": labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": labels}, "spec": _pod(served, image, name, labels, place)},
    }


def _pod(served: str, image: str, name: str, labels: Mapping[str, str], place: Place) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _STILL_COMING + place.drain + _AFTER_DRAIN,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [spread],
        "containers": [_container(served, image, name, place)],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }


def _container(served: str, image: str, name: str, place: Place) -> dict[str, Any]:
    options = ["--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - the pod's own address, behind a token
    if place.workers > 1:
        options += ["--workers", str(place.workers)]
    ping = {"httpGet": {"path": "/ping", "port": "http"}, "timeoutSeconds": 5}
    return {
        "name": "model",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve", *options, "--", _literal(served)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": _variables(served, name, place),
        "resources": {
            "requests": {"cpu": place.cpu, "memory": place.memory},
            "limits": {"memory": place.memory},
        },
        "startupProbe": {**ping, "periodSeconds": 5, "failureThreshold": math.ceil(place.start / 5)},
        "livenessProbe": {**ping, "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {
            "exec": {"command": ["/opt/venv/bin/python", "-c", _READY]},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", str(_STILL_COMING)]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 - a volume of the pod's own
    }


def _variables(served: str, name: str, place: Place) -> list[dict[str, Any]]:
    taken = {"PREFECT_ML_SERVE_TOKEN": TOKEN_KEY}
    if needs_store(served):
        taken["PREFECT_ML_STORE_URL"] = STORE_KEY
    given = {"PREFECT_ML_SERVE_DRAIN": str(place.drain), **place.environment}
    if both := taken.keys() & given.keys():
        raise InvalidInputError(f"{', '.join(sorted(both))} comes from the Secret {name!r}; leave it out.")
    return [
        *({"name": key, "value": _literal(value)} for key, value in given.items()),
        *({"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": within}}} for key, within in taken.items()),
    ]


def _service(labels: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "ClusterIP", "selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}


def _network(labels: Mapping[str, str], *, stored: bool) -> dict[str, Any]:
    """Requests come from pods of the namespace; a model that is in the image has nobody to call."""
    out: list[dict[str, Any]] = []
    if stored:
        out = [
            {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
            {
                "to": [
                    {"ipBlock": {"cidr": "0.0.0.0/0", "except": [_LINK_LOCAL]}},
                    {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10"]}},
                ],
                "ports": [{"protocol": "TCP", "port": 1, "endPort": 65535}],
            },
        ]
    return {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": PORT}]}],
        "egress": out,
    }


def _autoscaler(name: str, place: Place) -> dict[str, Any]:
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": place.target_cpu}}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": place.replicas,
        "maxReplicas": place.max_replicas,
        "metrics": [{"type": "Resource", "resource": cpu}],
    }
