"""The command `prefect-ml`; each command's module is imported when the command runs."""

from __future__ import annotations

import sys

from cyclopts import App

from prefect_ml.errors import PrefectMLError
from prefect_ml.store.origin import origin

app = App(
    name="prefect-ml",
    help="Tracking, models, registry, approval-gated promotion and serving for Prefect.",
    version_flags=["--version"],
)
app.command("prefect_ml.cli.quickstart:quickstart", name="quickstart", help="Run the whole path once, on real data.")
app.command("prefect_ml.cli.experiments:app", name="experiments", help="List and change experiments.")
app.command("prefect_ml.cli.runs:app", name="runs", help="List, show and compare runs.")
app.command("prefect_ml.cli.models:app", name="models", help="List, show and register models.")
app.command("prefect_ml.cli.lineage:lineage", name="lineage", help="Show what produced a model, and what came of it.")
app.command("prefect_ml.cli.promotion:promote", name="promote", help="Ask to move an alias to a model version.")
app.command("prefect_ml.cli.promotion:approve", name="approve", help="Approve a promotion request.")
app.command("prefect_ml.cli.promotion:reject", name="reject", help="Reject a promotion request.")
app.command("prefect_ml.cli.promotion:rollback", name="rollback", help="Move an alias back to its previous version.")
app.command("prefect_ml.cli.promotion:requests", name="requests", help="List promotion requests.")
app.command("prefect_ml.cli.policies:app", name="policies", help="List and save promotion policies.")
app.command("prefect_ml.cli.audit:app", name="audit", help="Read and verify the audit log.")
app.command(
    "prefect_ml.cli.deploy_flows:deploy_flows", name="deploy-flows", help="Make the deployments of all shipped flows."
)
app.command("prefect_ml.cli.batch_score:batch_score", name="batch-score", help="Score a whole data set with a model.")
app.command("prefect_ml.cli.endpoints:app", name="endpoints", help="Models behind a name, with weights and rollouts.")
app.command("prefect_ml.cli.serve:serve", name="serve", help="Serve a model over HTTP.")
app.command(
    "prefect_ml.cli.build_image:build_image", name="build-image", help="Build a container image that serves a model."
)
app.command(
    "prefect_ml.cli.kubernetes:kubernetes_manifests",
    name="kubernetes-manifests",
    help="Write what Kubernetes needs to serve a model.",
)
app.command("prefect_ml.cli.sagemaker:app", name="sagemaker", help="Serve models by Amazon SageMaker.")
app.command("prefect_ml.cli.server:server", name="server", help="Serve the store to a team and to MLflow clients.")
app.command("prefect_ml.cli.init:init", name="init", help="Write a project that trains, tests, deploys and serves.")
app.command("prefect_ml.cli.run:run", name="run", help="Run an entry point of a project, here or on a work pool.")
app.command("prefect_ml.cli.reproduce:reproduce", name="reproduce", help="Have a run again, and show what is equal.")
app.command("prefect_ml.cli.sweep:sweep", name="sweep", help="Train with many parameters and find the best.")
app.command("prefect_ml.cli.sync:sync", name="sync", help="Deliver what dead processes left in their journals.")
app.command("prefect_ml.cli.reconcile:reconcile", name="reconcile", help="Make the record true after processes died.")
app.command("prefect_ml.cli.moving:app", name="import", help="Take experiments, runs and models over from elsewhere.")
app.command("prefect_ml.cli.moving:export", name="export", help="Write experiments, runs and models into a folder.")
app.command("prefect_ml.cli.retention:retention", name="retention", help="Remove for good what was deleted long ago.")
app.command("prefect_ml.cli.db:app", name="db", help="Upgrade the store.")


@app.default
def default() -> None:
    """Show what there is."""
    app.help_print()


def main() -> None:
    """Run the command line; errors that are raised on purpose end as one sentence and exit code 1."""
    try:
        with origin(channel="cli"):
            app()
    except PrefectMLError as error:
        from rich.console import Console  # noqa: PLC0415 - what went well needs none

        Console(stderr=True, soft_wrap=True).print("Error: " + str(error), style="red", markup=False, highlight=False)
        sys.exit(1)
