"""One's own flow, decorated with one line: predict the progress of diabetes from ten measurements.

    uv run python examples/train_diabetes.py

Then look: `prefect-ml runs list --experiment diabetes`, `prefect-ml models show diabetes`.
Data: B. Efron et al., Least Angle Regression (2004), as scikit-learn ships it.
"""

from __future__ import annotations

import pandas as pd
from prefect import flow, task
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

import prefect_ml as ml


@task
def load() -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
    """The data set in two halves."""
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    return tuple(train_test_split(x, y, test_size=0.3, random_state=7))


@task(retries=1)
def fit(x: pd.DataFrame, y: pd.Series, alpha: float) -> Ridge:
    """A ridge regression; its coefficients are logged from within the task."""
    model = Ridge(alpha=alpha).fit(x, y)
    ml.log_dict(dict(zip(x.columns, model.coef_.tolist(), strict=True)), "coefficients.json")
    return model


@ml.track(experiment="diabetes")
@flow
def train_diabetes(alpha: float = 0.1) -> dict[str, float]:
    """Train, judge and register."""
    train_x, test_x, train_y, test_y = load()
    model = fit(train_x, train_y, alpha)
    ml.log_model(model, "model", input_example=test_x[:5], register="diabetes")
    predicted = model.predict(test_x)
    return {"r2": r2_score(test_y, predicted), "mae": mean_absolute_error(test_y, predicted)}


if __name__ == "__main__":
    for alpha in (0.01, 0.1, 1.0):
        print(alpha, train_diabetes(alpha))
