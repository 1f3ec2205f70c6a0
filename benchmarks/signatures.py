"""Enforcing a signature of 600 columns on a frame, beside MLflow's `_enforce_schema`, in one run.

    python benchmarks/signatures.py [--columns 600] [--rows 1 1000] [--rounds 200]

Both are given the same frames and the same signature (MLflow reads ours). The time is the median of the rounds, after
five to warm up. What raises in MLflow is shown as such.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.models.utils import _enforce_schema

from prefect_ml.models.signature import Signature

WARM_UP = 5


def frames(columns: int, rows: int) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """An example that gives the signature, and the data that is enforced, by what is measured."""
    text, whole = ["text"] * rows, pd.array([1] * rows, dtype="Int64")
    gaps = pd.array([1] * (rows - 1) + [None], dtype="Int64")
    category, moment = pd.Categorical(text), pd.to_datetime(["2020-01-01"] * rows)

    def third(values: Any) -> pd.DataFrame:
        return pd.DataFrame({f"c{i}": values if i % 3 == 0 else np.full(rows, 0.5) for i in range(columns)})

    numbers = pd.DataFrame(np.full((rows, columns), 0.5), columns=[f"c{i}" for i in range(columns)])
    kinds = [text, whole, category, moment, np.full(rows, 2), np.full(rows, 0.5)]
    mixed = pd.DataFrame({f"c{i}": kinds[i % len(kinds)] for i in range(columns)})
    same = {
        "numbers": numbers,
        "a third texts": third(text),
        "a third texts as objects": third(pd.Series(text, dtype="object")),
        "a third nullable whole numbers": third(whole),
        "a third whole numbers with a null": third(gaps),
        "a third categories": third(category),
        "a third datetimes": third(moment),
        "six kinds": mixed,
    }
    found = {name: (frame, frame) for name, frame in same.items()}
    found["whole numbers for doubles"] = (numbers, pd.DataFrame(np.full((rows, columns), 2), columns=numbers.columns))
    found["a third texts, reordered"] = (same["a third texts"], same["a third texts"][numbers.columns[::-1]])
    return found


def median(work: Callable[[], Any], rounds: int) -> float | str:
    """Milliseconds, or the name of what it raises."""
    times = []
    try:
        for _ in range(rounds + WARM_UP):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    except Exception as error:  # noqa: BLE001 - the peer may refuse what we take
        return type(error).__name__
    return statistics.median(times[WARM_UP:]) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=600)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--rounds", type=int, default=200)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    for rows in asked.rows:
        print(f"{asked.columns} columns, {rows} rows, milliseconds (median of {asked.rounds}, MLflow's of a tenth)")
        print(f"{'':36}{'ours':>10}{'MLflow':>22}{'ratio':>8}")
        for name, (example, data) in frames(asked.columns, rows).items():
            signature = Signature.infer(example)
            theirs = ModelSignature.from_dict(signature.to_mlmodel()).inputs
            ours_took = median(lambda s=signature, d=data: s.enforce(d), asked.rounds)
            theirs_took = median(lambda s=theirs, d=data: _enforce_schema(d, s), max(5, asked.rounds // 10))
            print(f"{name:36}{_shown(ours_took):>10}{_shown(theirs_took):>22}{_ratio(theirs_took, ours_took):>8}")
        print()


def _shown(took: float | str) -> str:
    return took if isinstance(took, str) else f"{took:.3f}"


def _ratio(theirs: float | str, ours: float | str) -> str:
    return f"{theirs / ours:.0f} x" if isinstance(theirs, float) and isinstance(ours, float) else "-"


if __name__ == "__main__":
    main()
