"""Files, folders and addresses: what of them counts, what is told of them, and that no secret is."""

from __future__ import annotations

import json
import logging
import os

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import prefect_ml as ml
from prefect_ml.tracking.datasets.files import BLOCK
from prefect_ml.tracking.datasets.places import clean_url, place_of
from prefect_ml.tracking.datasets.record import _describe


@pytest.mark.parametrize(
    ("url", "source_type", "source", "name"),
    [
        ("s3://bucket/churn.parquet", "s3", {"uri": "s3://bucket/churn.parquet"}, "churn"),
        ("s3://AKIA:secret@bucket/a/b.csv.gz?versionId=1", "s3", {"uri": "s3://bucket/a/b.csv.gz"}, "b"),
        ("https://u:p@host:8/x/data.csv?X-Amz-Signature=f#frag", "http", {"url": "https://host:8/x/data.csv"}, "data"),
        ("HTTP://host/", "http", {"url": "http://host/"}, "host"),
        ("gs://b/folder/", "gs", {"uri": "gs://b/folder/"}, "folder"),
        ("abfss://box@acc.dfs.net/x?sig=s", "abfss", {"uri": "abfss://box@acc.dfs.net/x"}, "x"),
        ("abfss://u:k@acc/x", "abfss", {"uri": "abfss://acc/x"}, "x"),
        ("postgresql+psycopg://me:pw@db:5432/shop?password=x", "postgresql+psycopg",
         {"uri": "postgresql+psycopg://db:5432/shop"}, "shop"),
        ("jdbc:db2://me:pw@h:1433;user=u;password=p", "jdbc:db2", {"uri": "jdbc:db2://h:1433"}, "h:1433"),
        ("hf://datasets/squad@main/x.json", "hf", {"uri": "hf://datasets/squad@main/x.json"}, "x"),
        ("http://[::1", "http", {"url": "http://"}, ""),
    ],
)  # fmt: skip
def test_an_address_without_its_secrets(url, source_type, source, name):
    place = place_of(url)
    assert (place.source_type, json.loads(place.source), place.name) == (source_type, source, name)


@given(st.text(max_size=20), st.text(max_size=10))
def test_no_secret_of_any_url_stays(path, scheme):
    secret = "hunter2hunter2"  # noqa: S105
    for url in (
        f"s3://user:{secret}@bucket/x", f"https://h/x?token={secret}&a={path}", f"https://h/x#{secret}",
        f"https://{secret}@h/{path}", f"jdbc:{scheme}://h;password={secret}",
    ):  # fmt: skip
        assert secret not in clean_url(url)
        assert secret not in place_of(url).source


def test_what_is_neither_a_url_nor_a_path_is_kept_without_its_password():
    assert "hunter2" not in place_of("host=db user=me password=hunter2").source


@pytest.mark.parametrize("form", ["text", "path", "uri"])
def test_a_csv_file(tmp_path, form):
    path = tmp_path / "my churn.v2.csv"
    path.write_text('age,name,score\n1,"a, b",0.5\n2,c,\n3,d,1e3\n', encoding="utf-8-sig")
    given_as = {"text": str(path), "path": path, "uri": path.as_uri()}[form]
    with ml.start_run("places") as run:
        dataset = run.log_input(given_as)
    assert (dataset.name, dataset.source_type) == ("my churn", "local")
    assert json.loads(dataset.source) == {"uri": str(path)}
    assert [(c["name"], c["type"]) for c in json.loads(dataset.schema)["mlflow_colspec"]] == [
        ("age", "long"), ("name", "string"), ("score", "double"),
    ]  # fmt: skip
    assert json.loads(dataset.profile) == {"num_rows": 3, "num_columns": 3, "num_elements": 9, "num_bytes": 44}
    assert ml.get_run(run.run_id).inputs[0].dataset == dataset


def test_the_rows_of_a_long_csv_file_are_not_counted(tmp_path):
    path = tmp_path / "long.tsv"
    path.write_text("a\tb\n" + "1\tx\n" * 200_000)
    facts = _describe(path)
    assert (facts.rows, [column["type"] for column in facts.columns]) == (None, ["long", "string"])


def test_a_parquet_file_tells_its_footer(tmp_path):
    path = tmp_path / "data.parquet"
    pd.DataFrame({"a": [1, 2], "s": ["x", None]}).to_parquet(path)
    facts = _describe(path)
    assert (facts.rows, [column["type"] for column in facts.columns], facts.unread) == (2, ["long", "string"], [])


@pytest.mark.parametrize("name", ["damaged.parquet", "damaged.csv", "empty.csv", "data.bin"])
def test_a_damaged_file_counts_by_its_bytes(tmp_path, name, caplog):
    path = tmp_path / name
    path.write_bytes(b"" if "empty" in name else b"PAR1\x00\xff\x00" * 3)
    with caplog.at_level(logging.WARNING), ml.start_run("places") as run:
        dataset = run.log_input(path)
    assert len(caplog.records) == (name == "damaged.parquet")
    assert json.loads(dataset.profile)["num_bytes"] == path.stat().st_size


def test_a_file_counts_by_its_size_and_sampled_blocks(tmp_path, digest):
    path = tmp_path / "data.bin"
    small = os.urandom(BLOCK * 3 + 17)
    path.write_bytes(small)
    first = digest(path)
    os.utime(path, (0, 0))
    path.chmod(0o600)
    assert digest(path) == first
    for at in (0, BLOCK, len(small) - 1):
        path.write_bytes(small[:at] + bytes([small[at] ^ 1]) + small[at + 1 :])
        assert digest(path) != first
    path.write_bytes(small + b"\x00")
    assert digest(path) != first
    other = tmp_path / "renamed.bin"
    other.write_bytes(small)
    assert digest(other) == first


def test_a_large_file_is_not_read(tmp_path, digest):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    first = digest(path)
    with path.open("r+b") as file:
        file.seek((1 << 40) - 1)
        file.write(b"x")
    assert digest(path) != first


def test_a_folder(tmp_path, digest, caplog):
    for name in ("b/2.csv", "a/1.csv", "c.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    (tmp_path / "data" / "dangling").symlink_to("nowhere")
    folder = tmp_path / "data"
    with caplog.at_level(logging.WARNING), ml.start_run("places") as run:
        dataset = run.log_input(folder)
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["dangling"]
    assert (dataset.name, dataset.source_type) == ("data", "local")
    assert json.loads(dataset.profile)["num_files"] == 4
    (folder / "dangling").unlink()
    first = digest(folder)
    (folder / "c.txt").write_text("d.txt")
    second = digest(folder)
    (folder / "c.txt").rename(folder / "d.txt")
    assert len({first, second, digest(folder)}) == 3
    assert digest(tmp_path / "data") == digest(str(folder) + "/")


def test_a_folder_of_many_files_is_looked_at_in_part(tmp_path, digest):
    for number in range(300):
        (tmp_path / f"{number:04}.txt").write_text("x")
    first = digest(tmp_path)
    (tmp_path / "0150.txt").write_text("xx")
    assert digest(tmp_path) != first
    assert _describe(tmp_path).more == {"num_files": 300}


def test_an_empty_folder_and_an_odd_name(tmp_path, digest):
    odd = tmp_path / os.fsdecode(b"odd\xff.csv")
    odd.write_text("a\n1\n")
    with ml.start_run("places") as run:
        dataset = run.log_input(odd)
    assert dataset.name == "odd?"
    assert json.loads(dataset.source)["uri"] == str(odd)
    (tmp_path / "empty").mkdir()
    assert digest(tmp_path / "empty") != digest(tmp_path)


def test_an_address_counts_by_itself_alone(digest):
    assert digest("s3://b/x.parquet") == digest("s3://me:pw@b/x.parquet?versionId=2")
    assert digest("s3://b/x.parquet") != digest("s3://b/y.parquet")
