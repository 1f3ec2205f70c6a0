"""The manifests against the schemas that Kubernetes publishes, and what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions

from prefect_ml.cli import app
from prefect_ml.deploying.inside import command
from prefect_ml.deploying.kubernetes import Place, manifests, to_yaml
from prefect_ml.errors import InvalidInputError

COMMAND = Path(sys.executable).with_name("prefect-ml")
ALL = "0.0.0.0"  # noqa: S104 - of a pod
IMAGE = "registry.example:5000/team/churn:3"
RELEASES = sorted({version.rpartition(".")[0] for version in all_versions()}, key=lambda text: int(text[2:]))


def made(served="models:/churn@champion", **place):
    objects = manifests(served, image=IMAGE, name="churn", place=Place(**place))
    return {each["kind"]: each for each in yaml.safe_load_all(to_yaml(objects))}


def container(objects):
    [found] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("release", [RELEASES[0], RELEASES[len(RELEASES) // 2], RELEASES[-1]])
def test_the_published_schemas_take_every_object(release):
    for served in ("endpoint:churn", "models:/churn@champion", "/opt/model"):
        objects = made(served, max_replicas=4, namespace="ml", workers=2, environment={"A": "b"})
        assert len(objects) == 5
        for each in objects.values():
            assert kubernetes_validate.validate(each, release, strict=True) == release


def test_the_schemas_refuse_what_is_wrong():
    deployment = made()["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRoot"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, RELEASES[-1], strict=True)


def test_the_selectors_find_the_pods():
    objects = made(max_replicas=3)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    scaled = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"])
    assert "replicas" not in objects["Deployment"]["spec"]
    assert made()["Deployment"]["spec"]["replicas"] == 2


def test_a_pod_is_given_the_time_that_its_drain_takes():
    pod = made(drain=90)["Deployment"]["spec"]["template"]["spec"]
    [model] = pod["containers"]
    assert {"name": "PREFECT_ML_SERVE_DRAIN", "value": "90"} in model["env"]
    assert pod["terminationGracePeriodSeconds"] == 5 + 90 + 10
    assert model["lifecycle"]["preStop"]["exec"]["command"] == ["/bin/sleep", "5"]
    assert model["livenessProbe"]["httpGet"]["path"] == "/ping"
    assert "/health" in model["readinessProbe"]["exec"]["command"][-1]


def test_secrets_are_named_and_never_written():
    objects = made()
    secret = [each for each in container(objects)["env"] if "valueFrom" in each]
    found = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in secret}
    assert found == {
        "PREFECT_ML_SERVE_TOKEN": {"name": "churn", "key": "serve-token"},
        "PREFECT_ML_STORE_URL": {"name": "churn", "key": "store-url"},
    }
    assert "Secret" not in objects
    with pytest.raises(InvalidInputError, match="PREFECT_ML_STORE_URL comes from the Secret 'churn'"):
        made(environment={"PREFECT_ML_STORE_URL": "postgresql://user:password@db/ml"})


def test_a_model_of_the_image_needs_no_store_and_calls_nobody():
    objects = made("/opt/model")
    assert [each["name"] for each in container(objects)["env"]] == ["PREFECT_ML_SERVE_DRAIN", "PREFECT_ML_SERVE_TOKEN"]
    assert objects["NetworkPolicy"]["spec"]["egress"] == []
    blocked = made()["NetworkPolicy"]["spec"]["egress"][1]["to"][0]["ipBlock"]["except"]
    assert blocked == ["169.254.0.0/16"]


def test_the_arguments_are_those_of_the_command_and_nothing_in_them_is_expanded():
    arguments = container(made("models:/a$(PREFECT_ML_SERVE_TOKEN)@b", workers=3))["args"]
    assert arguments == [
        *("serve", "--host", ALL, "--port", "8080", "--workers", "3", "--"),
        "models:/a$$(PREFECT_ML_SERVE_TOKEN)@b",
    ]
    assert command(arguments) == arguments
    function, given, _ = app.parse_args(arguments, exit_on_error=False)
    assert (function.__name__, given.args, given.arguments["workers"]) == ("serve", (arguments[-1],), 3)


@pytest.mark.parametrize(
    ("served", "named", "place", "said"),
    [
        ("endpoint:", {}, {}, "Name the endpoint"),
        ("model", {}, {}, "inside the image"),
        ("models:/churn", {}, {}, "names no registered model"),
        ("/opt/model", {"name": "Churn"}, {}, "no name of a deployment"),
        ("/opt/model", {"name": "a: b"}, {}, "no name of a deployment"),
        ("/opt/model", {"image": "churn"}, {}, "has no tag of its own"),
        ("/opt/model", {"image": "churn:latest"}, {}, "moves"),
        ("/opt/model", {"image": "-v/:/x churn:1"}, {}, "no name of an image"),
        ("/opt/model", {}, {"namespace": "ml\nkind: Secret"}, "no name of a deployment"),
        ("/opt/model", {}, {"replicas": 0}, "1 at least"),
        ("/opt/model", {}, {"replicas": 3, "max_replicas": 2}, "fewer than"),
        ("/opt/model", {}, {"memory": "much"}, "no quantity"),
        ("/opt/model", {}, {"environment": {"A B": "c"}}, "no name of an environment variable"),
    ],
)
def test_what_cannot_be_meant_is_refused(served, named, place, said):
    with pytest.raises(InvalidInputError, match=said):
        manifests(served, **{"image": IMAGE, "name": "churn", **named}, place=Place(**place))


def test_the_command_writes_what_kubectl_reads(tmp_path):
    target = tmp_path / "churn.yaml"
    options = ["--image", IMAGE, "--name", "churn", "--max-replicas", "5", "--env.PREFECT_ML_SERVE_THREADS", "8"]
    command = [COMMAND, "kubernetes-manifests", "endpoint:churn", *options, "--output", target]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "serve-token, store-url" in done.stderr
    objects = {each["kind"]: each for each in yaml.safe_load_all(target.read_text())}
    assert objects == made("endpoint:churn", max_replicas=5, environment={"PREFECT_ML_SERVE_THREADS": "8"})
