"""What gates keep in the cache does not grow for ever, and what is in use stays."""

from __future__ import annotations

import hashlib
import os
import time

from prefect_ml.registry import kept
from prefect_ml.registry.environments import build_environment
from prefect_ml.registry.evaluation import EvaluationSet, fetch_set
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

DAY = 86_400


def aged(path, days):
    """As if it had been used last so many days ago."""
    mark = path / kept.COMPLETE if (path / kept.COMPLETE).exists() else path
    os.utime(mark, (then := time.time() - days * DAY, then))
    return path


def environment(folder, name, days, size=1000):
    made = folder / name
    (made / "lib").mkdir(parents=True)
    (made / "lib" / "module.py").write_bytes(b"x" * size)
    (made / kept.COMPLETE).touch()
    return aged(made, days)


def test_what_is_unused_goes_by_age_and_by_size_and_what_is_in_use_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", 25_000)
    for name, days, size in [("now", 0, 90_000), ("two", 2, 1000), ("three", 3, 1000), ("old", 31, 1)]:
        environment(tmp_path, name, days, size)
    for name, days in ((".dead.partial", 2), (".living.partial", 0), (".name.lock", 99)):
        aged_file = tmp_path / name
        aged_file.touch()
        aged(aged_file, days)
    kept.forget_unused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"now", ".living.partial", ".name.lock"}
    monkeypatch.setattr(kept, "MOST_BYTES", 10_000_000)
    for name, days in (("two", 2), ("three", 3)):
        environment(tmp_path, name, days)
    assert kept.noted(aged(tmp_path / "three", 29))
    assert not kept.noted(tmp_path / "old")
    monkeypatch.setattr(kept, "MOST_BYTES", 100_000)
    kept.forget_unused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"now", "three", ".living.partial", ".name.lock"}


def test_a_new_environment_and_a_new_set_make_room_for_themselves(tmp_path, monkeypatch):
    settings = Settings(home=tmp_path / "home", evaluation_folders=(str(tmp_path / "sets"),))
    cache = settings.cache_folder
    old = environment(cache / "environments", "old", 31)
    python, installed = build_environment({}, cache, also=(), python=None, builds=False, until=time.monotonic() + 120)
    assert python.is_file()
    assert (old.exists(), installed) == (False, [])
    monkeypatch.setattr(kept, "MOST_BYTES", 6)
    (tmp_path / "sets").mkdir()
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    found = []
    for number in range(3):
        file = tmp_path / "sets" / f"{number}.csv"
        file.write_text(f"x\n{number}\n")
        digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        wanted = EvaluationSet(uri=str(file), digest=digest, label="x")
        found.append(aged(fetch_set(wanted, store, settings), 2 + number))
    assert [path.exists() for path in found] == [False, False, True]
    assert fetch_set(wanted, store, settings) == found[-1]
    assert time.time() - found[-1].stat().st_mtime < DAY, "that it was used is noted"
    store.close()
