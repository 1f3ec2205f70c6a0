"""The training that `prefect-ml quickstart` runs: ordinary Prefect flows of tasks, decorated with one line.

Data: the Wisconsin diagnostic breast cancer set (569 tumours, 30 measurements, W. Wolberg et al., 1993), which
scikit-learn ships.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from prefect import flow, task

import prefect_ml as ml

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

EXPERIMENT = "quickstart"
MODEL = "breast-cancer"
ALPHAS = (1e-5, 1e-3, 1e-1, 10.0)


class Split(NamedTuple):
    """The data set in two halves: fit on one, judged on the other."""

    train_x: pd.DataFrame
    test_x: pd.DataFrame
    train_y: pd.Series
    test_y: pd.Series


@task
def load_data(seed: int) -> Split:
    """Load the data set and split it, the share of each class kept."""
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 (scikit-learn is an extra)
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return Split(*train_test_split(x, y, test_size=0.4, random_state=seed, stratify=y))


@task
def fit(data: Split, alpha: float, epochs: int, seed: int) -> Any:
    """Fit a scaled logistic regression by stochastic gradient descent, logging its curves."""
    from sklearn.linear_model import SGDClassifier  # noqa: PLC0415 (scikit-learn is an extra)
    from sklearn.metrics import log_loss, roc_auc_score  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    scaler = StandardScaler().fit(data.train_x)
    classifier = SGDClassifier(loss="log_loss", alpha=alpha, random_state=seed)
    model = make_pipeline(scaler, classifier)
    scaled = scaler.transform(data.train_x)
    for epoch in range(epochs):
        classifier.partial_fit(scaled, data.train_y, classes=[0, 1])
        curves = {
            "train_loss": log_loss(data.train_y, classifier.predict_proba(scaled)),
            "test_auc": roc_auc_score(data.test_y, model.predict_proba(data.test_x)[:, 1]),
        }
        ml.log_metrics(curves, step=epoch)
    return model


@task
def evaluate(model: Any, data: Split) -> dict[str, float]:
    """Judge the model on the half that it has not seen, and plot its ROC curve."""
    from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve  # noqa: PLC0415 (scikit-learn is an extra)

    scores = model.predict_proba(data.test_x)[:, 1]
    false_positives, true_positives, _ = roc_curve(data.test_y, scores)
    auc = float(roc_auc_score(data.test_y, scores))
    ml.log_figure(draw_roc(false_positives, true_positives, auc), "roc.png")
    return {"auc": auc, "accuracy": float(accuracy_score(data.test_y, model.predict(data.test_x)))}


@ml.track(experiment=EXPERIMENT)
@flow(name="train-candidate", flow_run_name="alpha-{alpha}")
def train_candidate(alpha: float, epochs: int = 20, seed: int = 7) -> dict[str, float]:
    """Fit, judge and keep one candidate."""
    data = load_data(seed)
    model = fit(data, alpha, epochs, seed)
    metrics = evaluate(model, data)
    ml.log_model(model, "model", input_example=data.test_x[:5])
    return metrics


@ml.track(experiment=EXPERIMENT)
@flow(name="train-candidates")
def train_candidates(alphas: tuple[float, ...] = ALPHAS) -> str:
    """Train every candidate as a child run and return the run id of the best."""
    for alpha in alphas:
        train_candidate(alpha)
    children = f"tags.`mlflow.parentRunId` = '{ml.current_run().run_id}'"
    best = ml.search_runs(EXPERIMENT, children, order_by=["metrics.auc DESC"], max_results=1)[0]
    ml.set_tag("best_run_id", best.run_id)
    ml.log_metric("auc", best.metrics["auc"])
    return best.run_id


def unseen_rows(count: int, seed: int = 7) -> tuple[dict[str, Any], list[int]]:
    """A scoring request of rows that no candidate was fitted on, and their true classes (0 malignant, 1 benign)."""
    data = load_data.fn(seed)
    rows = data.test_x[:count].to_dict(orient="split", index=False)
    return {"dataframe_split": rows}, [int(truth) for truth in data.test_y[:count]]


def draw_roc(false_positives: Any, true_positives: Any, auc: float) -> Figure:
    """A ROC curve, drawn without a display."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (matplotlib is an extra)

    figure = Figure(figsize=(5, 5), layout="tight")
    axes = figure.add_subplot()
    axes.plot(false_positives, true_positives, label=f"AUC {auc:.4f}")
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC on unseen data")
    axes.legend(loc="lower right")
    return figure
