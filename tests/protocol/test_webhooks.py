"""Webhooks whole: MLflow's own client, a real server, a real receiver, and deaths in between."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
import time
from datetime import datetime
from email.utils import formatdate
from itertools import pairwise

import httpx
import pytest
from cryptography.fernet import Fernet

from prefect_ml.entities import WebhookAction, WebhookEntity, WebhookEvent
from prefect_ml.protocol.webhook_examples import example_of
from prefect_ml.server.webhooks import wait_before
from prefect_ml.store import open_store
from receiver import Answer, Receiver
from served import TrackingServer

SECRET = "the secret of the receiver"  # noqa: S105 (of this test)
EVENTS = ["registered_model.created", "model_version.created", "model_version_tag.set", "model_version_tag.deleted"]
EVENTS += ["model_version_alias.created", "model_version_alias.deleted"]
PROMPTS = ["prompt.created", "prompt_version.created", "prompt_tag.set", "prompt_tag.deleted"]
PROMPTS += ["prompt_version_tag.set", "prompt_version_tag.deleted", "prompt_alias.created", "prompt_alias.deleted"]
ALLOWED = {
    "PREFECT_ML_WEBHOOK_HTTP": "true",
    "PREFECT_ML_WEBHOOK_HOSTS": "*,127.0.0.1",
    "PREFECT_ML_WEBHOOK_KEY": Fernet.generate_key().decode(),
    "PREFECT_ML_WEBHOOK_TIMEOUT": "5",
}
HOOKS = "/api/2.0/mlflow/webhooks"
CREATED = {"entity": "REGISTERED_MODEL", "action": "CREATED"}


@pytest.fixture(scope="module")
def hooked(tmp_path_factory):
    """A server that may call this machine."""
    with TrackingServer(tmp_path_factory.mktemp("hooked"), ALLOWED) as started:
        yield started


@pytest.fixture
def http(hooked):
    with httpx.Client(base_url=hooked.url, timeout=30) as client:
        yield client


@pytest.fixture
def mlflow_client(hooked, monkeypatch):
    import mlflow

    mlflow.set_tracking_uri(hooked.url)
    yield mlflow.MlflowClient(hooked.url)
    mlflow.set_tracking_uri(None)


@pytest.fixture
def receiver():
    with Receiver() as started:
        yield started


@pytest.fixture
def names(request):
    """Names that no other test takes."""
    return lambda what: f"{what}-{request.node.name}"


def register(http, url, events=(CREATED,), **more):
    answer = http.post(HOOKS, json={"name": "hook", "url": url, "events": list(events), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["webhook"]["webhook_id"]


@pytest.fixture
def registered(http, receiver):
    """Registers a webhook for the receiver, and deletes it at the end."""
    made = []

    def work(events=(CREATED,), **more):
        made.append(register(http, receiver.url, events, **more))
        return made[-1]

    yield work
    for webhook in made:
        assert http.request("DELETE", f"{HOOKS}/{webhook}").status_code == 200


def make_model(http, name):
    assert http.post("/api/2.0/mlflow/registered-models/create", json={"name": name}).status_code == 200


def refusal(answer):
    found = answer.json()
    return answer.status_code, found["error_code"], found["message"]


def test_mlflows_client_registers_changes_lists_and_deletes(mlflow_client, receiver):
    from mlflow.exceptions import MlflowException

    made = mlflow_client.create_webhook("to-the-chat", receiver.url, EVENTS[:2], description="why", secret=SECRET)
    assert (made.name, made.url, made.description, str(made.status)) == ("to-the-chat", receiver.url, "why", "ACTIVE")
    assert [str(event) for event in made.events] == EVENTS[:2]
    assert made.secret is None
    assert mlflow_client.get_webhook(made.webhook_id).webhook_id == made.webhook_id
    changed = mlflow_client.update_webhook(made.webhook_id, status="DISABLED", events=PROMPTS[:1])
    assert (str(changed.status), changed.name, [str(event) for event in changed.events]) == (
        "DISABLED",
        "to-the-chat",
        PROMPTS[:1],
    )
    other = mlflow_client.create_webhook("other", receiver.url, EVENTS[:1])
    first = mlflow_client.list_webhooks(max_results=1)
    rest = mlflow_client.list_webhooks(max_results=1, page_token=first.token)
    assert [each.webhook_id for each in (*first, *rest)] == [other.webhook_id, made.webhook_id]
    assert not rest.token
    for webhook in (made, other):
        mlflow_client.delete_webhook(webhook.webhook_id)
    assert list(mlflow_client.list_webhooks()) == []
    with pytest.raises(MlflowException, match=f"Webhook with ID {made.webhook_id} not found"):
        mlflow_client.get_webhook(made.webhook_id)


def test_changes_by_mlflows_client_are_told_signed(mlflow_client, receiver, names):
    model = names("m")
    webhook = mlflow_client.create_webhook("everything", receiver.url, EVENTS + PROMPTS, secret=SECRET)
    mlflow_client.create_registered_model(model, tags={"k": "v"}, description="about")
    mlflow_client.create_model_version(model, "s3://bucket/model", tags={"a": "b"}, description="first")
    mlflow_client.set_model_version_tag(model, "1", "key", "value")
    mlflow_client.delete_model_version_tag(model, "1", "key")
    mlflow_client.set_registered_model_alias(model, "champion", "1")
    mlflow_client.delete_registered_model_alias(model, "champion")
    calls = sorted(receiver.wait_for(6), key=lambda call: call.said["timestamp"])
    assert [call.event for call in calls] == EVENTS
    version = {"name": model, "version": "1"}
    assert [call.data for call in calls] == [
        {"name": model, "tags": {"k": "v"}, "description": "about"},
        {**version, "source": "s3://bucket/model", "run_id": None, "tags": {"a": "b"}, "description": "first"},
        {**version, "key": "key", "value": "value"},
        {**version, "key": "key"},
        {"name": model, "alias": "champion", "version": "1"},
        {"name": model, "alias": "champion"},
    ]
    for call in calls:
        at = call.headers["x-mlflow-timestamp"]
        signed = f"{call.delivery_id}.{at}.{call.text}".encode()
        mac = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
        assert call.headers["x-mlflow-signature"] == f"v1,{mac}"
        assert abs(int(at) - call.at) < 5
        assert datetime.fromisoformat(call.said["timestamp"]).utcoffset().total_seconds() == 0
    assert len({call.delivery_id for call in calls}) == 6
    mlflow_client.delete_webhook(webhook.webhook_id)


def test_prompts_by_mlflows_client_are_told_as_prompts(mlflow_client, receiver, names):
    import mlflow

    prompt = names("p")
    webhook = mlflow_client.create_webhook("prompts", receiver.url, EVENTS + PROMPTS)
    mlflow.genai.register_prompt(prompt, "Hi {{name}}", commit_message="first", tags={"team": "a"})
    mlflow_client.set_prompt_tag(prompt, "k", "v")
    mlflow_client.delete_prompt_tag(prompt, "k")
    mlflow_client.set_prompt_version_tag(prompt, "1", "k", "v")
    mlflow_client.delete_prompt_version_tag(prompt, "1", "k")
    mlflow.genai.set_prompt_alias(prompt, "prod", 1)
    mlflow.genai.delete_prompt_alias(prompt, "prod")
    receiver.wait_for(9)
    # The client itself also notes the experiment in a tag of the prompt.
    calls = [call for call in receiver.calls if call.data.get("key") != "_mlflow_experiment_ids"]
    calls.sort(key=lambda call: call.said["timestamp"])
    assert [call.event for call in calls] == PROMPTS
    assert calls[0].data == {"name": prompt, "tags": {"team": "a"}, "description": "first"}
    assert calls[1].data == {
        "name": prompt,
        "version": "1",
        "template": "Hi {{name}}",
        "tags": {"team": "a"},
        "description": "first",
    }
    mlflow_client.delete_webhook(webhook.webhook_id)


def test_mlflows_client_tries_a_webhook_out(mlflow_client, receiver):
    webhook = mlflow_client.create_webhook("try", receiver.url, EVENTS[1:2], secret=SECRET)
    receiver.plan = [Answer(), Answer(), Answer(500, b"no"), Answer(body=b"x" * 9000)]
    tried = mlflow_client.test_webhook(webhook.webhook_id)
    assert (tried.success, tried.response_status, tried.response_body) == (True, 200, '{"received": true}')
    mlflow_client.test_webhook(webhook.webhook_id, event=EVENTS[5])
    failed = mlflow_client.test_webhook(webhook.webhook_id)
    assert (failed.success, failed.response_status, failed.response_body) == (False, 500, "no")
    assert len(mlflow_client.test_webhook(webhook.webhook_id).response_body) == 4096
    assert receiver.calls[0].data == {
        "name": "example_model",
        "version": "1",
        "source": "models:/123",
        "run_id": "abcd1234abcd5678",
        "tags": {"example_key": "example_value"},
        "description": "An example model version",
    }
    assert receiver.calls[1].data == {"name": "example_model", "alias": "example_alias"}
    assert "x-mlflow-signature" in receiver.calls[0].headers
    mlflow_client.update_webhook(webhook.webhook_id, url="http://127.0.0.1:9/")
    away = mlflow_client.test_webhook(webhook.webhook_id)
    assert not away.success
    assert away.error_message.startswith("Failed to test webhook: The receiver cannot be reached")
    mlflow_client.delete_webhook(webhook.webhook_id)


def test_each_event_has_the_example_that_mlflow_sends():
    from mlflow.webhooks.types import get_example_payload_for_event

    for text in EVENTS + PROMPTS:
        from mlflow.entities.webhook import WebhookEvent as Theirs

        entity, _, action = text.partition(".")
        ours = example_of(WebhookEvent(WebhookEntity(entity), WebhookAction(action)))
        assert ours == get_example_payload_for_event(Theirs.from_str(text))


def test_what_is_sent_stays_as_it_is_in_the_words_of_the_protocol(http, registered):
    webhook = registered(description="why")
    found = http.get(f"{HOOKS}/{webhook}").json()["webhook"]
    assert set(found) == {
        "webhook_id", "name", "url", "events", "description", "status", "creation_timestamp", "last_updated_timestamp",
    }  # fmt: skip
    assert found["events"] == [CREATED]
    ajax = http.get(f"/ajax-api/2.0/mlflow/webhooks/{webhook}").json()["webhook"]
    assert ajax == found
    assert http.patch(f"{HOOKS}/{webhook}", json={}).json()["webhook"]["description"] == "why"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "Missing value for required parameter 'name'"),
        ({"url": None}, "Missing value for required parameter 'url'"),
        ({"events": None}, "Missing value for required parameter 'events'"),
        ({"events": []}, "Missing value for required parameter 'events'"),
        ({"name": "-a"}, "Webhook name '-a' is invalid. It must start and end with a letter or digit"),
        ({"name": "x" * 64}, "is invalid. It must start and end with"),
        ({"url": "   "}, "Webhook URL cannot be empty or just whitespace: '   '"),
        ({"url": "ftp://a.example/"}, "Invalid webhook URL scheme: 'ftp'. Allowed schemes are: http, https"),
        ({"url": "http://[invalid"}, "Invalid webhook URL 'http://[invalid': "),
        ({"url": "https://u:p@a.example/"}, "must not hold a user name or password"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "does not call '169.254.169.254'"),
        ({"url": "https://2852039166/"}, "does not call '2852039166'"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "does not call '::ffff:10.0.0.1'"),
        ({"url": f"https://a.example/{'x' * 500}"}, "at most 500"),
        ({"events": [{"entity": "REGISTERED_MODEL", "action": "DELETED"}]}, "Invalid action 'deleted' for entity 'reg"),
        ({"events": [{"entity": "BIRD", "action": "CREATED"}]}, "Invalid value 'BIRD.CREATED' for parameter 'events'"),
        ({"events": [{"entity": "PROMPT"}]}, "Missing value for required parameter 'events[0].action'"),
        ({"events": "PROMPT"}, "for parameter 'events' supplied"),
        ({"status": "ASLEEP"}, "Invalid value 'ASLEEP' for parameter 'status'"),
        ({"secret": "x" * 1001}, "at most 1000"),
        ({"description": "\x00"}, "NUL"),
    ],
)
def test_what_makes_no_webhook_is_refused_in_words(http, change, message):
    body = {"name": "hook", "url": "https://a.example/", "events": [CREATED], **change}
    status, code, words = refusal(http.post(HOOKS, json=body))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message in words


def test_what_is_not_there_and_what_cannot_be_listed_are_refused_in_words(http, registered):
    for method, path in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test")]:
        answer = http.request(method, f"{HOOKS}/nobody{path}", json={})
        status, code, words = refusal(answer)
        assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert words.startswith("Webhook with ID nobody not found.")
    for query in ("max_results=0", "max_results=1001"):
        assert refusal(http.get(f"{HOOKS}?{query}"))[2] == "max_results must be between 1 and 1000."
    assert "Invalid page token" in refusal(http.get(f"{HOOKS}?page_token=evilhax"))[2]
    webhook = registered()
    assert refusal(http.patch(f"{HOOKS}/{webhook}", json={"url": "https://10.0.0.1/"}))[0] == 400


def test_a_secret_is_nowhere_in_clear_text(hooked, http, registered, names):
    webhook = registered(secret=SECRET)
    answers = [http.get(f"{HOOKS}/{webhook}").text, http.get(HOOKS).text]
    answers.append(http.patch(f"{HOOKS}/{webhook}", json={"secret": f"{SECRET}2"}).text)
    answers.append(http.post(HOOKS, json={"name": " ", "url": "x", "events": 1, "secret": SECRET}).text)
    make_model(http, names("m"))
    stored = b"".join(path.read_bytes() for path in hooked.folder.glob("server.db*"))
    assert SECRET.encode() not in stored
    assert SECRET not in "".join(answers) + hooked.log()
    with sqlite3.connect(hooked.folder / "server.db") as connection:
        assert connection.execute("SELECT sealed_secret FROM webhooks").fetchone()[0].startswith("gAAAA")
    connection.close()


def test_a_secret_is_changed_and_taken_away(http, registered, receiver):
    webhook = registered(secret=SECRET)
    http.patch(f"{HOOKS}/{webhook}", json={"secret": ""})
    http.post(f"{HOOKS}/{webhook}/test", json={})
    http.patch(f"{HOOKS}/{webhook}", json={"secret": SECRET})
    http.post(f"{HOOKS}/{webhook}/test", json={})
    assert ["x-mlflow-signature" in call.headers for call in receiver.calls] == [False, True]


def test_without_a_key_a_secret_is_refused_and_this_machine_is_not_called(server, api, receiver):
    body = {"name": "hook", "url": "https://a.example/", "events": [CREATED]}
    assert "PREFECT_ML_WEBHOOK_KEY" in api.refused("webhooks", **body, secret=SECRET)[2]
    assert "Allowed schemes are: https." in api.refused("webhooks", **body | {"url": receiver.url})[2]
    https = receiver.url.replace("http:", "https:").replace("127.0.0.1", "localhost")
    webhook = api.post("webhooks", **body | {"url": https})["webhook"]["webhook_id"]
    tried = api.post(f"webhooks/{webhook}/test")["result"]
    assert tried["success"] is False
    assert "does not call 'localhost'" in tried["error_message"]
    assert receiver.connections == 0


def test_a_webhook_for_several_events_gets_each_once_and_a_disabled_one_none(http, receiver, registered, names):
    with Receiver() as silent:
        off = register(http, silent.url, status="DISABLED")
        registered([CREATED, {"entity": "MODEL_VERSION", "action": "CREATED"}, CREATED])
        make_model(http, names("m"))
        http.post("/api/2.0/mlflow/model-versions/create", json={"name": names("m"), "source": "s3://b/m"})
        receiver.wait_for(2)
        time.sleep(1)
        assert sorted(receiver.events()) == ["model_version.created", "registered_model.created"]
        assert silent.connections == 0
        http.request("DELETE", f"{HOOKS}/{off}")


def test_a_failure_is_tried_again_under_the_same_id_later_and_later(http, receiver, registered, names):
    receiver.plan = [Answer(503), Answer(500), Answer(200)]
    registered(secret=SECRET)
    make_model(http, names("m"))
    calls = receiver.wait_for(3)
    assert len({call.delivery_id for call in calls}) == len({call.text for call in calls}) == 1
    first, second = (after.at - before.at for before, after in pairwise(calls))
    assert 0.5 <= first < 4
    assert 1 <= second < 5
    time.sleep(1.5)
    assert len(receiver.calls) == 3


def test_a_receiver_that_asks_for_patience_gets_it(http, receiver, registered, names):
    receiver.plan = [Answer(429, headers={"Retry-After": "3"})]
    registered()
    make_model(http, names("m"))
    before, after = receiver.wait_for(2)
    assert 3 <= after.at - before.at < 6


def test_what_is_refused_is_given_up_at_once_and_said(hooked, http, receiver, registered, names):
    with Receiver() as inside:
        receiver.plan = [Answer(404, b"a secret of the inside"), Answer(307, headers={"Location": inside.url})]
        webhook = registered()
        make_model(http, names("m"))
        receiver.wait_for(1)
        make_model(http, names("n"))
        given_up = settled(hooked, webhook, 2)
        assert (len(receiver.calls), inside.connections) == (2, 0)
    assert [(each.status, each.attempts) for each in given_up] == [("GIVEN_UP", 1)] * 2
    redirect = "The receiver answered 307, and redirects are not followed."
    assert [each.error for each in given_up] == [redirect, "The receiver answered 404."]
    assert "was not told of a change, and will not be" in hooked.log()
    assert "a secret of the inside" not in hooked.log()


def test_a_receiver_that_never_answers_is_given_up_and_holds_up_nobody(tmp_path, names):
    def hang(handler):
        time.sleep(3)

    environment = {**ALLOWED, "PREFECT_ML_WEBHOOK_ATTEMPTS": "2", "PREFECT_ML_WEBHOOK_TIMEOUT": "1"}
    with (
        Receiver([Answer(body=hang)] * 9) as slow,
        Receiver() as quick,
        TrackingServer(tmp_path, environment) as server,
        httpx.Client(base_url=server.url, timeout=30) as http,
    ):
        webhook = register(http, slow.url)
        register(http, quick.url)
        make_model(http, "m")
        (told,) = quick.wait_for(1)
        (given_up,) = settled(server, webhook, 1)
    assert told.at * 1000 < given_up.next_attempt_at
    assert (given_up.status, given_up.attempts) == ("GIVEN_UP", 2)
    assert given_up.error == "There was no answer within 1 seconds."


def settled(server, webhook, number, seconds=30):
    """The deliveries of a webhook, newest first, as soon as so many are settled."""
    deadline = time.monotonic() + seconds
    store = open_store(server.store)
    try:
        while True:
            found = [each for each in store.list_deliveries(webhook) if each.status != "PENDING"]
            if len(found) == number:
                return found
            assert time.monotonic() < deadline, store.list_deliveries(webhook)
            time.sleep(0.1)
    finally:
        store.close()


def test_a_server_that_dies_while_it_calls_calls_again_after_its_restart(tmp_path):
    def hang(handler):
        time.sleep(5)

    environment = {**ALLOWED, "PREFECT_ML_WEBHOOK_TIMEOUT": "2"}
    with Receiver([Answer(body=hang)]) as receiver, TrackingServer(tmp_path, environment) as server:
        with httpx.Client(base_url=server.url, timeout=30) as http:
            register(http, receiver.url, secret=SECRET)
            make_model(http, "m")
            (first,) = receiver.wait_for(1)
            server.kill()
        server.start()
        again = receiver.wait_for(2)[1]
        assert (again.delivery_id, again.text) == (first.delivery_id, first.text)


def test_a_server_that_dies_between_the_change_and_the_call_calls_after_its_restart(tmp_path):
    with Receiver() as receiver, TrackingServer(tmp_path, ALLOWED) as server:
        with httpx.Client(base_url=server.url, timeout=30) as http:
            register(http, receiver.url)
            for number in range(20):
                make_model(http, f"m{number}")
            server.kill()  # within a second of all of them: some were told, some were not
        server.start()
        deadline = time.monotonic() + 15
        while {call.data["name"] for call in receiver.calls} != {f"m{number}" for number in range(20)}:
            assert time.monotonic() < deadline, receiver.events()
            time.sleep(0.1)
        ids = {}
        for call in receiver.calls:
            assert ids.setdefault(call.data["name"], call.delivery_id) == call.delivery_id


def test_two_servers_on_one_database_tell_each_change_once(tmp_path, postgres_url):
    with (
        Receiver() as receiver,
        TrackingServer(tmp_path / "a", ALLOWED, store=postgres_url) as first,
        TrackingServer(tmp_path / "b", ALLOWED, store=postgres_url) as second,
        httpx.Client(base_url=first.url, timeout=30) as one,
        httpx.Client(base_url=second.url, timeout=30) as other,
    ):
        for number in range(4):
            register(one, f"{receiver.url}/{number}")
        for number in range(10):
            make_model((one, other)[number % 2], f"m{number}")
        receiver.wait_for(40, 30)
        time.sleep(1)
    ids = [call.delivery_id for call in receiver.calls]
    assert len(ids) == len(set(ids)) == 40


def test_several_workers_on_sqlite_tell_each_change_once(tmp_path):
    with (
        Receiver() as receiver,
        TrackingServer(tmp_path, ALLOWED, "--workers", "2") as server,
        httpx.Client(base_url=server.url, timeout=30) as http,
    ):
        for number in range(3):
            register(http, f"{receiver.url}/{number}")
        for number in range(10):
            make_model(http, f"m{number}")
        receiver.wait_for(30, 30)
        time.sleep(1)
    ids = [call.delivery_id for call in receiver.calls]
    assert len(ids) == len(set(ids)) == 30


def test_a_key_that_is_none_keeps_the_server_from_starting(tmp_path):
    with pytest.raises(AssertionError, match="PREFECT_ML_WEBHOOK_KEY is no Fernet key"):
        TrackingServer(tmp_path, {"PREFECT_ML_WEBHOOK_KEY": "hunter2"}).start()
    assert "hunter2" not in (tmp_path / "server.log").read_text()


def test_waits_double_to_an_hour_and_heed_the_receiver_within_that():
    for attempt in range(2, 40):
        longest = min(3600, 2 ** (attempt - 2))
        assert longest / 2 <= wait_before(attempt) <= longest
    assert wait_before(2, "7") == 7
    assert wait_before(2, "9" * 400) == wait_before(2, formatdate(time.time() + 10**6)) == 3600
    assert 20 < wait_before(2, formatdate(time.time() + 30, usegmt=True)) <= 30
    for nonsense in ("", "-5", "soon", "½", formatdate(0), "Wed, 99 Foo 2026", json.dumps({})):
        assert 0.5 <= wait_before(2, nonsense) <= 1
