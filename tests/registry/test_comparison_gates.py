"""Candidate and champion on the same evaluation set, and its slices, with real models and files of every format."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from prefect_ml.artifacts import open_artifacts
from prefect_ml.artifacts.served_client import client_of
from prefect_ml.errors import CorruptArtifactError, InvalidInputError, NotFoundError
from prefect_ml.models.folder import load_model, save_model
from prefect_ml.registry.comparison_gates import ComparedWithChampion, Slices
from prefect_ml.registry.evaluation import EvaluationSet, fetch_set
from prefect_ml.registry.gate import Candidate
from prefect_ml.registry.gates import evaluate_gate, parse_gate
from prefect_ml.registry.outcomes import MISSING, predict_rows
from prefect_ml.registry.register import register_model
from prefect_ml.registry.scores import KINDS, bootstrap, scorer, value_of
from prefect_ml.settings import Settings
from prefect_ml.store import open_store
from served import TrackingServer

NAMES = ["a", "b", "c", "d"]
FEATURES, LABELS = make_classification(
    600, 4, n_informative=3, n_redundant=0, flip_y=0.05, class_sep=1.2, random_state=3
)
FRAME = pd.DataFrame(FEATURES, columns=NAMES).assign(
    label=LABELS, region=np.where(np.arange(600) % 3 == 0, "north", "south")
)


def digest_of(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A registry with a good, a slightly and a wholly worse model, and an evaluation set."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_ML_HOME", str(folder / "home"))
        store = open_store(f"sqlite:///{folder / 'store.db'}")
        good = LogisticRegression().fit(FRAME[NAMES], LABELS)
        blind = LogisticRegression().fit(FRAME[NAMES].assign(a=0.0), LABELS)
        for number, model in enumerate((good, blind, DummyClassifier(strategy="prior").fit(FRAME[NAMES], LABELS)), 1):
            save_model(model, folder / str(number), input_example=FRAME[NAMES][:2])
            register_model(store, str(folder / str(number)), "m")
        (folder / "sets").mkdir()
        FRAME.to_parquet(folder / "sets" / "eval.parquet")
        yield store, Settings(home=folder / "home", evaluation_folders=(str(folder / "sets"),)), folder / "sets"
        store.close()


def candidate(world, version, champion=None):
    store, options, _ = world
    if champion is not None:
        store.set_alias("m", f"champion-{champion}", champion)
    return Candidate.of(store, "m", version, f"champion-{champion}", options)


def data(world, file="eval.parquet", **more):
    path = world[2] / file
    return EvaluationSet(uri=str(path), digest=digest_of(path), label="label", **more)


def test_a_better_model_passes_and_its_evidence_says_by_how_much(world):
    gate = ComparedWithChampion(data=data(world, features=tuple(NAMES)), metric="accuracy", margin=0.05, seed=7)
    result = evaluate_gate(gate, candidate(world, 1, champion=3))
    assert result.passed, result.summary
    found = result.evidence
    good = LogisticRegression().fit(FRAME[NAMES], LABELS)
    assert found["value"] == pytest.approx(good.score(FRAME[NAMES], LABELS), abs=1e-5)
    assert found["interval"][0] < found["gain"] < found["interval"][1]
    assert found["interval"][0] >= 0.05
    told = {key: found[key] for key in ("rows", "seed", "resamples", "confidence", "set_digest", "champion_version")}
    assert told == {
        "rows": 600, "seed": 7, "resamples": 1000, "confidence": 0.95, "set_digest": gate.data.digest,
        "champion_version": 3,
    }  # fmt: skip
    assert evaluate_gate(gate, candidate(world, 1, champion=3)).evidence == found


def test_a_worse_model_fails_and_an_equal_one_only_passes_without_a_margin(world):
    gate = ComparedWithChampion(data=data(world), metric="auc")
    worse = evaluate_gate(gate, candidate(world, 3, champion=1))
    assert not worse.passed
    assert worse.evidence["value"] == 0.5
    assert "does not surely reach the margin" in worse.summary
    assert evaluate_gate(gate, candidate(world, 1, champion=1)).passed
    margin = gate.model_copy(update={"margin": 0.001})
    assert not evaluate_gate(margin, candidate(world, 1, champion=1)).passed
    assert evaluate_gate(gate.model_copy(update={"margin": -0.9}), candidate(world, 2, champion=1)).passed


def test_less_is_better_for_losses(world):
    gate = ComparedWithChampion(data=data(world), metric="log_loss")
    result = evaluate_gate(gate, candidate(world, 1, champion=3))
    assert result.passed
    assert result.evidence["gain"] > 0 > result.evidence["value"] - result.evidence["champion_value"]
    assert not evaluate_gate(gate, candidate(world, 3, champion=1)).passed


def test_without_a_champion_it_passes_and_says_so(world):
    result = evaluate_gate(ComparedWithChampion(data=data(world), metric="f1"), candidate(world, 3))
    assert result.passed
    assert "nothing holds" in result.summary
    assert "gain" not in result.evidence


def test_slices_name_the_groups_that_are_too_bad(world):
    gate = Slices(data=data(world), metric="accuracy", column="region", minimum=0.6, max_drop=0.2)
    assert evaluate_gate(gate, candidate(world, 1, champion=3)).passed
    result = evaluate_gate(gate, candidate(world, 3, champion=1))
    assert not result.passed
    groups = {each["group"]: each for each in result.evidence["groups"]}
    assert groups.keys() == {"north", "south"}
    assert groups["north"]["rows"] == 200
    assert all(each["wrong"] for each in groups.values())
    only_drop = gate.model_copy(update={"minimum": None})
    assert not evaluate_gate(only_drop, candidate(world, 3, champion=1)).passed
    assert "no champion" in evaluate_gate(only_drop, candidate(world, 3)).summary


def test_slices_of_missing_values_and_of_few_rows(world):
    frame = FRAME.assign(region=[None] * 100 + ["rare"] * 5 + ["south"] * 495)
    frame.loc[:99, "label"] = 1 - frame.loc[:99, "label"]
    frame.to_csv(world[2] / "holes.csv", index=False)
    gate = Slices(data=data(world, "holes.csv"), metric="accuracy", column="region", minimum=0.5)
    result = evaluate_gate(gate, candidate(world, 1))
    assert not result.passed
    assert MISSING in result.summary
    assert result.evidence["bad_count"] == 1
    assert result.evidence["small"] == [{"group": "rare", "rows": 5}]
    alone = gate.model_copy(update={"min_rows": 1000})
    assert "none is judged" in evaluate_gate(alone, candidate(world, 1)).summary
    for column, words in (("a", "more than 1000 values"), ("absent", "no column 'absent'")):
        pd.concat([frame, frame.assign(a=frame["a"] + 1)]).to_csv(world[2] / "many.csv", index=False)
        other = gate.model_copy(update={"column": column, "data": data(world, "many.csv")})
        assert words in evaluate_gate(other, candidate(world, 1)).summary


def test_every_format_in_batches_gives_the_same(world, tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_ml.registry.outcomes.BATCH", 64)
    table = pa.Table.from_pandas(FRAME)
    FRAME.to_parquet(tmp_path / "e.parquet")
    FRAME.to_csv(tmp_path / "e.csv", index=False)
    FRAME.to_json(tmp_path / "e.jsonl", orient="records", lines=True, double_precision=15)
    with pa.OSFile(str(tmp_path / "e.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "s.ipc"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    model = load_model(candidate(world, 1).subject.folder, origin="test")
    expected = LogisticRegression().fit(FRAME[NAMES], LABELS).predict_proba(FRAME[NAMES])[:, 1]
    for path in tmp_path.iterdir():
        wanted = EvaluationSet(uri=str(path), digest=digest_of(path), label="label")
        found = predict_rows(path, wanted, {"candidate": model}, "score", column="region")
        assert found.truth.tolist() == LABELS.tolist()
        assert found.predicted["candidate"] == pytest.approx(expected, abs=1e-6), path
        assert [found.groups[at] for at in found.group] == FRAME["region"].tolist()


def test_sets_are_taken_only_from_where_the_operator_keeps_them(world, tmp_path):
    store, options, sets = world
    run = store.create_run("0")
    open_artifacts(run.artifact_uri).put("data/eval.csv", FRAME.to_csv(index=False).encode())
    digest = f"sha256:{hashlib.sha256(FRAME.to_csv(index=False).encode()).hexdigest()}"
    kept = fetch_set(
        EvaluationSet(uri=f"runs:/{run.run_id}/data/eval.csv", digest=digest, label="label"), store, options
    )
    assert kept.read_text() == FRAME.to_csv(index=False)

    outside = tmp_path / "eval.csv"
    outside.write_text("x,label\n1,0\n")
    (sets / "link.csv").symlink_to(outside)
    (sets / "folder.csv").mkdir()
    other = digest_of(outside)
    refused = {
        InvalidInputError: [
            str(outside), f"{sets}/../eval.csv", f"file://{outside}", f"file://{sets}/%2e%2e/eval.csv",
            "https://example.org/eval.csv", "s3://bucket/eval.csv", "http://169.254.169.254/eval.csv",
            "//host/eval.csv", f"{sets}/link.csv", f"runs:/{run.run_id}/../eval.csv",
            f"runs:/{run.run_id}//etc/eval.csv", "mlflow-artifacts:/../eval.csv", f"{sets}/x\x00.csv",
        ],
        NotFoundError: [f"{sets}/absent.csv", f"runs:/{'0' * 32}/eval.csv", f"{sets}/folder.csv"],
    }  # fmt: skip
    for error, uris in refused.items():
        for uri in uris:
            with pytest.raises(error):
                fetch_set(EvaluationSet(uri=uri, digest=other, label="label"), store, options)
    assert not [path for path in (options.cache_folder / "evaluation").iterdir() if path.name.endswith(".partial")]


def test_a_set_that_the_tracking_server_keeps(tmp_path, monkeypatch):
    content = FRAME[:50].to_csv(index=False).encode()
    with TrackingServer(tmp_path / "server") as server:
        monkeypatch.setenv("PREFECT_ML_STORE_URL", server.url)
        open_artifacts("mlflow-artifacts:/sets").put("eval.csv", content)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        wanted = EvaluationSet(uri="mlflow-artifacts:/sets/eval.csv", digest=digest, label="label")
        store = open_store()
        assert fetch_set(wanted, store, Settings(home=tmp_path / "home")).read_bytes() == content
        absent = wanted.model_copy(update={"uri": "mlflow-artifacts:/sets/absent.csv", "digest": f"sha256:{'0' * 64}"})
        with pytest.raises(NotFoundError):
            fetch_set(absent, store, Settings(home=tmp_path / "home"))
        store.close()
        client_of(server.url, None).close()


def test_a_set_that_changed_fails_the_gate(world):
    path = world[2] / "changing.csv"
    FRAME[:100].to_csv(path, index=False)
    wanted = data(world, "changing.csv")
    path.write_text("label,a\n1,2\n")
    result = evaluate_gate(ComparedWithChampion(data=wanted, metric="accuracy"), candidate(world, 1))
    assert not result.passed
    assert "CorruptArtifactError" in result.summary
    assert digest_of(path) in result.summary
    with pytest.raises(CorruptArtifactError):
        fetch_set(wanted, world[0], world[1])


@pytest.mark.parametrize(
    ("content", "gate", "words"),
    [
        ("label,a,b,c,d\n", {}, "no rows"),
        ("other,a,b,c,d\n1,1,1,1,1\n", {}, "no column 'label'"),
        ("label,a,b,c,d\n,1,1,1,1\n", {}, "no label"),
        ("label,a,b\n1,1,1\n", {}, "lacks the columns 'c', 'd'"),
        ("label,a,b,c,d\n1,1,1,1,1\n", {"metric": "auc"}, "needs two"),
        ("label,a,b,c,d\nx,1,1,1,1\ny,1,1,1,1\n", {"metric": "rmse"}, "no number"),
    ],
)
def test_sets_that_cannot_be_judged_say_what_is_wrong(world, content, gate, words):
    (world[2] / "odd.csv").write_text(content)
    specification = ComparedWithChampion(**{"metric": "accuracy", **gate}, data=data(world, "odd.csv"))
    result = evaluate_gate(specification, candidate(world, 1, champion=2))
    assert not result.passed
    assert words in result.summary


@pytest.mark.parametrize(
    "more",
    [
        {"type": "slices", "column": "x"},
        {"type": "slices", "column": "x", "maximum": 1.0},
        {"type": "slices", "column": "x", "metric": "mae", "minimum": 1.0},
        {"resamples": 10},
        {"confidence": 1.0},
        {"metric": "guess"},
        {"data": {"uri": "x.exe", "digest": "sha256:" + "0" * 64, "label": "y"}},
        {"data": {"uri": "x.csv", "digest": "md5:0", "label": "y"}},
    ],
)
def test_specifications_that_nothing_can_follow_are_refused(more):
    whole = {"uri": "x.csv", "digest": "sha256:" + "0" * 64, "label": "y"}
    with pytest.raises(InvalidInputError):
        parse_gate({"type": "compared_with_champion", "metric": "accuracy", "data": whole, **more})


labels = arrays.arrays(np.int64, 40, elements=st.integers(0, 1))
numbers = arrays.arrays(np.float64, 40, elements=st.integers(-5, 5).map(float))


@settings(max_examples=30, deadline=None)
@given(labels, labels, numbers, arrays.arrays(np.int64, 40, elements=st.integers(0, 3)), st.integers(0, 2**31))
def test_metrics_are_scikit_learns_for_the_rows_and_for_any_resample(truth, said, values, counts, seed):
    truth[:2] = (0, 1)
    chosen = np.random.default_rng(seed).integers(0, 40, 40)
    weights = np.vstack([np.ones(40), np.bincount(chosen, minlength=40)]).astype(float)
    whole = [slice(None), chosen]
    many = counts % 3
    chances = np.clip((values + 5) / 10, 1e-6, 1 - 1e-6)
    true_chance = np.where(truth == 1, chances, 1 - chances)
    expected = {
        "accuracy": (truth, said, metrics.accuracy_score),
        "f1": (truth, said, lambda t, p: metrics.f1_score(t, p, zero_division=0)),
        "precision": (truth, said, lambda t, p: metrics.precision_score(t, p, zero_division=0)),
        "recall": (truth, said, lambda t, p: metrics.recall_score(t, p, zero_division=0)),
        "mae": (values, said, metrics.mean_absolute_error),
        "rmse": (values, said, metrics.root_mean_squared_error),
    }
    for name, (actual, predicted, by_sklearn) in expected.items():
        found = scorer(name, actual, predicted)(weights)
        assert found == pytest.approx([by_sklearn(actual[w], predicted[w]) for w in whole], abs=1e-9), name
    macro = scorer("f1", many, counts % 2)
    names = np.unique(np.concatenate([many, counts % 2]))
    if len(names) > 2:
        assert value_of(macro, 40) == pytest.approx(
            metrics.f1_score(many, counts % 2, average="macro", labels=names, zero_division=0)
        )
    for rows, found in zip(whole, scorer("auc", truth, values)(weights), strict=True):
        if len(np.unique(truth[rows])) == 2:
            assert found == pytest.approx(metrics.roc_auc_score(truth[rows], values[rows]))
        else:
            assert np.isnan(found)
    loss = value_of(scorer("log_loss", truth, true_chance), 40)
    assert loss == pytest.approx(metrics.log_loss(truth, chances))
    r2 = value_of(scorer("r2", truth, values), 40)
    assert r2 == pytest.approx(metrics.r2_score(truth, values))


def test_the_interval_covers_the_true_gain_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    held = 0
    for seed in range(100):
        truth = generator.integers(0, 2, 300)
        good, bad = (np.where(generator.random(300) < chance, truth, 1 - truth) for chance in (0.8, 0.7))
        own, other = (scorer("accuracy", truth, said) for said in (good, bad))
        gain = bootstrap(own, other, 300, more_is_better=True, resamples=400, confidence=0.9, seed=seed)
        held += gain.lower <= 0.1 <= gain.upper
    assert 80 <= held <= 98


def test_a_metric_that_most_resamples_lack_is_no_comparison():
    truth = np.array([1] + [0] * 2)
    own = scorer("auc", truth, np.array([1.0, 0.0, 0.0]), positive=1)
    none = scorer("auc", np.zeros(3), np.array([1.0, 0.0, 0.0]), positive=1)
    assert bootstrap(own, own, 3, more_is_better=True, resamples=100, confidence=0.9, seed=0).undefined > 0
    with pytest.raises(InvalidInputError, match="give more rows"):
        bootstrap(own, none, 3, more_is_better=True, resamples=100, confidence=0.9, seed=0)


def test_labels_that_are_text_and_models_that_take_arrays(tmp_path):
    words = np.array(["no", "yes"])[LABELS]
    frame = FRAME[NAMES].assign(label=words)
    frame.to_parquet(tmp_path / "e.parquet")
    wanted = EvaluationSet(uri=str(tmp_path / "e.parquet"), digest="sha256:" + "0" * 64, label="label")
    model = LogisticRegression().fit(FEATURES, words)
    save_model(model, tmp_path / "model", input_example=FEATURES[:2])
    loaded = load_model(tmp_path / "model", origin="test")
    for metric in ("accuracy", "auc", "log_loss"):
        found = predict_rows(tmp_path / "e.parquet", wanted, {"own": loaded}, KINDS[metric].needs, positive="yes")
        value = value_of(scorer(metric, found.truth, found.predicted["own"], "yes"), 600)
        chances = model.predict_proba(FEATURES)
        assert value == pytest.approx({
            "accuracy": metrics.accuracy_score(words, model.predict(FEATURES)),
            "auc": metrics.roc_auc_score(words, chances[:, 1]),
            "log_loss": metrics.log_loss(words, chances),
        }[metric])  # fmt: skip
    regression = LinearRegression().fit(FRAME[NAMES], LABELS)
    save_model(regression, tmp_path / "regression", input_example=FRAME[NAMES][:2])
    FRAME.to_parquet(tmp_path / "e.parquet")
    loaded = load_model(tmp_path / "regression", origin="test")
    found = predict_rows(tmp_path / "e.parquet", wanted, {"own": loaded}, "number")
    r2 = value_of(scorer("r2", found.truth, found.predicted["own"]), 600)
    assert r2 == pytest.approx(regression.score(FRAME[NAMES], LABELS))
