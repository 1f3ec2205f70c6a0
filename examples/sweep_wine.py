"""A sweep: which classifier of wines is best, by a study that learns from its trials, four trees at a time.

    uv run --extra sweep python examples/sweep_wine.py

Then look: `prefect-ml runs list --experiment wine`. Run it again and nothing is trained twice; ask for more trials and
only those are. Data: M. Forina et al., 178 wines of three cultivars, as scikit-learn ships it.
"""

from __future__ import annotations

from sklearn.datasets import load_wine
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import cross_val_score

import prefect_ml as ml
from prefect_ml.flows.sweep import SweepResult, sweep

SPACE = {
    "n_estimators": {"low": 5, "high": 60, "int": True, "log": True},
    "max_depth": {"low": 1, "high": 8, "int": True},
    "criterion": ["gini", "entropy"],
    "max_features": [0.3, 0.6, None],
}


def train(**params: object) -> dict[str, float]:
    """Judge a forest by five-fold cross-validation; each fold is a point of a curve."""
    x, y = load_wine(return_X_y=True)
    scores = cross_val_score(ExtraTreesClassifier(random_state=7, **params), x, y, cv=5)
    for fold, score in enumerate(scores):
        ml.log_metric("fold_accuracy", score, step=fold)
    return {"accuracy": float(scores.mean()), "spread": float(scores.std())}


def main(trials: int = 12) -> SweepResult:
    """Sweep, or go on with the sweep."""
    return sweep(
        train, SPACE, metric="accuracy", method="optuna", trials=trials, experiment="wine", key="forests", parallel=4
    )


if __name__ == "__main__":
    best = main().best
    print(best.value, dict(best.params), best.run_id)
