"""The commands that read the history: in this process, since starting the command costs more than what it does."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta

import pytest

from prefect_ml.cli import main
from prefect_ml.store import open_store

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command, and gives its output; its errors, when it ends with another exit code."""
    monkeypatch.setenv("COLUMNS", "240")

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["prefect-ml", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == code, said.out + said.err
        return said.out if code == 0 else said.err

    return run


@pytest.fixture
def store():
    opened = open_store()
    opened.create_registered_model("m")
    for version in (1, 2):
        opened.create_model_version("m", "s")
        opened.set_alias("m", "champion", version, actor="ann")
    yield opened
    opened.close()


def test_the_log_is_exported_continued_and_compared(store, command, tmp_path):
    file = tmp_path / "audit.jsonl"
    assert command("audit", "export", file) == f"5 entries written to {file}, up to entry 5.\n"
    store.delete_alias("m", "champion")
    assert command("audit", "export", file) == f"1 entries written to {file}, up to entry 6.\n"
    later = tmp_path / "later.jsonl"
    assert command("audit", "export", later, "--after", "4") == f"2 entries written to {later}, up to entry 6.\n"
    whole = "6 entries, the chain is whole, and the records are what it says.\n"
    assert command("audit", "verify") == whole
    assert command("audit", "verify", "--against", later) == f"{whole}2 of them are in {later}, unchanged.\n"
    file.write_bytes(file.read_bytes().replace(b'"ann"', b'"eve"'))
    assert "is no whole export of an audit log: line 3 was changed" in command(
        "audit", "verify", "--against", file, code=1
    )


def test_a_tampered_record_ends_in_one_sentence(store, command):
    change = "UPDATE aliases SET version = 1"
    store.database.write(lambda connection: connection.exec_driver_sql(change) and None)
    assert "Error: The alias m, champion was changed: its version is 1" in command("audit", "verify", code=1)


def test_the_log_says_from_where(store, command):
    command("policies", "list")
    assert "python" in command("audit", "list")
    rows = json.loads(command("audit", "list", "--json"))
    assert {row["origin"]["channel"] for row in rows} == {"python"}


def test_where_an_alias_pointed_at_a_time(store, command):
    first, second = store.alias_history("m", "champion")
    between = datetime.fromtimestamp(first.moved_at / 1000).astimezone() + timedelta(milliseconds=0.5)
    if second.moved_at > first.moved_at:
        found = json.loads(command("models", "history", "m", "champion", "--at", between.isoformat(), "--json"))
        assert (found["version"], found["moved_by"]) == (1, "ann")
    now = datetime.now().astimezone() + timedelta(seconds=1)
    shown = command("models", "history", "m", "champion", "--at", now.replace(tzinfo=None).isoformat())
    assert "generation" in shown
    assert "2" in shown
    assert "pointed nowhere at" in command("models", "history", "m", "champion", "--at", "2001-01-01T12:00", code=1)
    assert "is no time" in command("models", "history", "m", "champion", "--at", "noon", code=1)
    assert len(json.loads(command("models", "history", "m", "champion", "--json"))) == 2
