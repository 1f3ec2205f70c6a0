"""What stands before the models: the rate of each client, and a line of the log for each request."""

from __future__ import annotations

import asyncio
import json
import logging

import httpx
import pytest

from prefect_ml.errors import InvalidInputError
from prefect_ml.http.request_log import JsonLines
from prefect_ml.registry.resolve import ResolvedModel
from prefect_ml.serving.app import build_app
from prefect_ml.serving.follow import Served
from prefect_ml.serving.observing import Observers
from prefect_ml.serving.opening import open_model
from prefect_ml.serving.picking import FollowedModel, ServedModels
from prefect_ml.serving.predictions import Limits
from prefect_ml.serving.replica import load_replica
from prefect_ml.serving.wanted import Wanted
from prefect_ml.settings import Settings

BODY = {"dataframe_records": [{"age": 30.0, "income": 1.0}]}


class Told:
    """An observer that keeps what it is told, and fails on the first."""

    def __init__(self):
        self.requests = []

    def answered(self, request):
        self.requests.append(request)
        if len(self.requests) == 1:
            raise RuntimeError("not ready")

    def close(self):
        raise AssertionError("nothing began")


@pytest.fixture(scope="module")
def models(model_folder):
    return ServedModels([open_model(Wanted("line", str(model_folder)), Settings(), None)])


def asked(models, paths, *, told=(), **settings):
    """The answers of an application with these settings, asked one after the other."""
    settings = Settings(**settings)
    app = build_app(models, Limits.of(settings), settings, observers=Observers(told))

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return [await client.post(path, json=body) for path, body in paths]

    return asyncio.run(ask())


def test_a_client_that_asks_too_often_is_told_when_to_come_again(models):
    answers = asked(models, [("/invocations", BODY)] * 4, serve_rate=1.0)
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"


def test_each_request_is_a_line_of_json_without_what_was_sent(models, caplog):
    caplog.set_level(logging.INFO, "prefect_ml.requests")
    asked(models, [("/models/line/invocations", BODY), ("/invocations", {})], serve_log="json")
    lines = [
        json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "prefect_ml.requests"
    ]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/models/{name}/invocations", 200),
        ("/invocations", 400),
    ]
    assert all(line["request_id"] and line["duration_ms"] > 0 for line in lines)
    assert "income" not in json.dumps(lines)


class Broken(FollowedModel):
    """A model that fails where nobody expects it to."""

    def pick(self, headers, version):
        raise ZeroDivisionError(f"of whoever wrote it, at {len(headers)} headers and version {version}")


def test_what_nobody_foresaw_is_answered_told_to_observers_and_logged(model_folder, caplog):
    caplog.set_level(logging.ERROR, "prefect_ml.serving")
    resolved = ResolvedModel(str(model_folder), str(model_folder))
    broken = Broken("line", Served(load_replica(resolved, Settings())), None)
    told = Told()
    first, *_ = asked(ServedModels([broken]), [("/invocations", BODY)] * 2, told=[told])
    assert first.status_code == 500
    assert first.json() == {"error_code": "INTERNAL_ERROR", "message": "The server failed; its log says why."}
    assert [(request.status, type(request.error)) for request in told.requests] == [(500, ZeroDivisionError)] * 2
    assert "of whoever wrote it" in caplog.text


def test_observers_are_told_of_each_request_and_hurt_nobody(models):
    told = Told()
    paths = [
        ("/invocations", BODY),
        ("/invocations", {"inputs": "text"}),
        ("/v2/models/line/infer", {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [30, 1]}]}),
    ]
    answers = asked(models, paths, told=[told])
    assert (
        [request.status for request in told.requests] == [answer.status_code for answer in answers] == [200, 400, 200]
    )
    assert [request.rows for request in told.requests] == [1, 0, 1]
    assert told.requests[0].answer == answers[0].content
    assert told.requests[0].error is None
    assert isinstance(told.requests[1].error, InvalidInputError)
    assert told.requests[2].content_type == "application/vnd.kserve.v2"
