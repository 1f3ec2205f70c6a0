"""An asynchronous flow: read a shop's catalogue from its HTTP API, all pages at once, and sum up its prices.

    uv run python examples/async_prices.py

An answer 5xx is asked for again. The flow is as it was before prefect-ml, but for the line above it; run as a script
it starts a small API of its own to ask. Then look: `prefect-ml runs list --experiment price-report`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from prefect import flow, task

import prefect_ml as ml

PAGE = 25


@task(retries=3, retry_delay_seconds=0.2, task_run_name="page-{page}")
async def fetch(base_url: str, page: int, limiter: int = 10) -> list[dict[str, Any]]:
    """One page of the catalogue."""
    async with httpx.AsyncClient(base_url=base_url, timeout=limiter) as client:
        answer = await client.get("/products", params={"page": page, "size": PAGE})
        answer.raise_for_status()
        return answer.json()["products"]


@task(retries=3, retry_delay_seconds=0.2)
async def count_pages(base_url: str) -> int:
    """How many pages there are."""
    async with httpx.AsyncClient(base_url=base_url) as client:
        answer = await client.get("/products/count")
        answer.raise_for_status()
        return -(-answer.json()["count"] // PAGE)


@ml.track
@flow
async def price_report(base_url: str, currency: str = "EUR") -> dict[str, float]:
    """The number of products in a currency, and what they cost."""
    pages = await asyncio.gather(*[fetch(base_url, page) for page in range(await count_pages(base_url))])
    prices = [product["price"] for page in pages for product in page if product["currency"] == currency]
    return {"products": len(prices), "median": statistics.median(prices), "highest": max(prices)}


class Catalogue(BaseHTTPRequestHandler):
    """An API of 120 products that is too busy for every page when it is first asked for it."""

    seen: set[str]

    def do_GET(self) -> None:
        """Answer with a page, or with the number of products."""
        path, _, query = self.path.partition("?")
        busy = bool(query) and query not in self.seen
        self.seen.add(query)
        products = [{"id": n, "price": 5.0 + n / 4, "currency": "USD" if n % 3 == 0 else "EUR"} for n in range(120)]
        if path.endswith("count"):
            found: dict[str, Any] = {"count": len(products)}
        else:
            page, size = (int(part.partition("=")[2]) for part in query.split("&"))
            found = {"products": products[page * size : (page + 1) * size]}
        self.send_response(503 if busy else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({} if busy else found).encode())

    def log_message(self, *args: object) -> None:
        """Leave the terminal to Prefect."""


def start_catalogue() -> ThreadingHTTPServer:
    """The API on a free port of this machine, until its `shutdown()`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Fresh", (Catalogue,), {"seen": set()}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    api = start_catalogue()
    print(asyncio.run(price_report(f"http://127.0.0.1:{api.server_port}")))
    api.shutdown()
