"""The three steps of the pipeline, each an entry point of the project: they read files and write files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

import prefect_ml as ml


def prepare(share: float, out: Path) -> None:
    """Split the wines into two files."""
    frame = load_wine(as_frame=True).frame
    train, test = train_test_split(frame, test_size=share, random_state=7, stratify=frame["target"])
    out.mkdir(parents=True, exist_ok=True)
    train.to_csv(out / "train.csv", index=False)
    test.to_csv(out / "test.csv", index=False)
    ml.log_metrics({"train_rows": len(train), "test_rows": len(test)})


def train(data: Path, depth: int, out: Path) -> None:
    """A forest."""
    frame = pd.read_csv(data)
    model = RandomForestClassifier(max_depth=depth, random_state=7).fit(frame.drop(columns="target"), frame["target"])
    out.mkdir(parents=True, exist_ok=True)
    skops.io.dump(model, out / "model.skops")


def judge(data: Path, model: Path, out: Path) -> None:
    """How many of the other wines it knows."""
    frame = pd.read_csv(data)
    loaded = skops.io.load(model, trusted=skops.io.get_untrusted_types(file=model))
    accuracy = accuracy_score(frame["target"], loaded.predict(frame.drop(columns="target")))
    out.mkdir(parents=True, exist_ok=True)
    (out / "judged.json").write_text(json.dumps({"accuracy": accuracy}))
    ml.log_metric("accuracy", accuracy)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["prepare", "train", "judge"])
    parser.add_argument("--share", type=float)
    parser.add_argument("--depth", type=int)
    for name in ("data", "model", "out"):
        parser.add_argument(f"--{name}", type=Path)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    {"prepare": prepare, "train": train, "judge": judge}[given.pop("step")](**given)
