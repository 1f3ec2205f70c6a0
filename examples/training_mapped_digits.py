"""A training flow with mapped tasks and retries: which regularization reads handwritten digits best?

    uv run python examples/training_mapped_digits.py

Each candidate is a task run of its own. One that does not converge is tried again with four times the iterations.
The flow is as it was before prefect-ml, but for the line above it. Then look:
`prefect-ml runs list --experiment train-digits`.
Data: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (1998), as scikit-learn ships it.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from prefect import flow, runtime, task, unmapped
from prefect.task_runners import ThreadPoolTaskRunner
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

import prefect_ml as ml


class Split(NamedTuple):
    """Pixels and digits, to train with and to judge by."""

    train_x: np.ndarray
    test_x: np.ndarray
    train_y: np.ndarray
    test_y: np.ndarray


class Score(NamedTuple):
    """How well a candidate reads digits that it has never seen."""

    c: float
    accuracy: float
    log_loss: float
    iterations: int


@task
def load(test_share: float) -> Split:
    """The data set in two parts, each digit equally frequent in both."""
    x, y = load_digits(return_X_y=True)
    return Split(*train_test_split(x / 16.0, y, test_size=test_share, stratify=y, random_state=0))


@task(retries=3, retry_delay_seconds=0.1, task_run_name="fit-{c}")
def fit(split: Split, c: float) -> Score:
    """Train and judge one candidate; a fit that has not converged is an error."""
    iterations = 20 * 4 ** (runtime.task_run.run_count - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = LogisticRegression(C=c, max_iter=iterations).fit(split.train_x, split.train_y)
    odds = model.predict_proba(split.test_x)
    return Score(
        c,
        float(accuracy_score(split.test_y, model.classes_[odds.argmax(axis=1)])),
        float(log_loss(split.test_y, odds)),
        int(model.n_iter_.max()),
    )


@task
def best_of(scores: list[Score]) -> Score:
    """The candidate with the lowest loss."""
    return min(scores, key=lambda score: score.log_loss)


@ml.track
@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def train_digits(candidates: list[float] | None = None, test_share: float = 0.3) -> dict[str, float]:
    """Fit all candidates at once and return what the best of them reached."""
    split = load(test_share)
    scores = fit.map(unmapped(split), candidates or [0.001, 0.01, 0.1, 1.0, 10.0])
    return best_of(scores)._asdict()


if __name__ == "__main__":
    print(train_digits())
