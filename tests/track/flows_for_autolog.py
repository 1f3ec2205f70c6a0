"""A flow whose task fits in another process; imported there by name."""

from __future__ import annotations

from prefect import flow, task

import prefect_ml as ml


@task
def fit():
    from sklearn.linear_model import LogisticRegression

    LogisticRegression(C=0.25).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])


@ml.track(experiment="autolog in processes", autolog=["sklearn"])
@flow
def train():
    fit.submit().result()
