"""Real data and models."""

from __future__ import annotations

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@pytest.fixture(scope="session")
def cancer():
    """Ten features of 569 tumours as a DataFrame, and what they were."""
    data = load_breast_cancer(as_frame=True)
    return data.data.iloc[:, :10], data.target


@pytest.fixture(scope="session")
def fitted(cancer):
    features, target = cancer
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(features, target)


class Bomb:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        from pathlib import Path

        return (Path.touch, (self.trace,))

    def predict(self, data):
        return data


@pytest.fixture
def bomb(tmp_path):
    return Bomb(tmp_path / "exploded")
