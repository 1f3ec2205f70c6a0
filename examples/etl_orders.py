"""An ETL: the daily CSV exports of shops, cleaned with pandas, into one table of a database.

    uv run python examples/etl_orders.py

Exports arrive when they like, so reading one is tried again; one that was read today is not read again. The flow is
as it was before prefect-ml, but for the line above it. Then look: `prefect-ml runs list --experiment etl-orders`.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pandas as pd
from prefect import flow, get_run_logger, task
from prefect.cache_policies import INPUTS

import prefect_ml as ml

COLUMNS = ["order_id", "ordered_at", "sku", "quantity", "unit_price"]


@task(
    retries=5,
    retry_delay_seconds=[0.5, 1, 2, 4, 8],
    cache_policy=INPUTS,
    cache_expiration=timedelta(hours=12),
    persist_result=True,
    task_run_name="extract-{shop}",
)
def extract(folder: Path, shop: str, day: str) -> pd.DataFrame:
    """The export of a shop, as text; it may not have arrived yet."""
    return pd.read_csv(folder / f"{shop}-{day}.csv", dtype=str, names=COLUMNS, header=0).assign(shop=shop)


@task
def transform(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Typed rows with their revenue; rows that are no orders and orders that were sent twice are dropped."""
    raw = pd.concat(frames, ignore_index=True)
    clean = raw.assign(
        ordered_at=pd.to_datetime(raw["ordered_at"], errors="coerce", utc=True),
        quantity=pd.to_numeric(raw["quantity"], errors="coerce"),
        unit_price=pd.to_numeric(raw["unit_price"], errors="coerce"),
    )
    clean = clean.dropna().query("quantity > 0").drop_duplicates(["shop", "order_id"])
    return clean.assign(revenue=clean["quantity"] * clean["unit_price"])


@task(retries=3, retry_delay_seconds=1)
def load(orders: pd.DataFrame, database: Path, day: str) -> int:
    """Replace the day's rows in one transaction, so that a second load of a day changes nothing."""
    rows = orders.assign(day=day, ordered_at=orders["ordered_at"].astype(str))
    with closing(sqlite3.connect(database)) as connection, connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE name = 'orders'").fetchone()
        if found is not None:
            connection.execute("DELETE FROM orders WHERE day = ?", [day])
        return rows.to_sql("orders", connection, if_exists="append", index=False) or 0


@ml.track
@flow(log_prints=True, retries=1)
def etl_orders(folder: Path, database: Path, shops: list[str], day: str) -> dict[str, float]:
    """Extract each shop's export, transform them together, load the day."""
    raw = [future.result() for future in [extract.submit(folder, shop, day) for shop in shops]]
    orders = transform(raw)
    loaded = load(orders, database, day)
    get_run_logger().info("Loaded %d orders of %s", loaded, day)
    return {
        "extracted": sum(len(frame) for frame in raw),
        "loaded": loaded,
        "revenue": round(float(orders["revenue"].sum()), 2),
    }


def write_exports(folder: Path, day: str) -> None:
    """What two shops would have sent: with an order twice, a comment, and an amount that is no number."""
    (folder / f"berlin-{day}.csv").write_text(
        "order,when,sku,n,price\n"
        f"1,{day}T08:12:00Z,tea,2,4.50\n"
        f"2,{day}T09:40:00Z,cup,1,12.00\n"
        f"2,{day}T09:40:00Z,cup,1,12.00\n"
        f"3,{day}T11:05:00Z,tea,oops,4.50\n"
    )
    (folder / f"lisbon-{day}.csv").write_text(
        f"order,when,sku,n,price\n1,{day}T10:00:00Z,tea,10,4.25\n# end of shift,,,,\n2,{day}T18:30:00Z,pot,1,39.90\n"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        write_exports(Path(name), "2026-03-02")
        print(etl_orders(Path(name), Path(name) / "warehouse.db", ["berlin", "lisbon"], "2026-03-02"))
