"""One call of a webhook: to the checked address only, signed, bounded in time and size."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import ssl
import time

import pytest
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from prefect_ml.entities import Webhook, WebhookAction, WebhookEntity, WebhookEvent
from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.webhook_calls import SHOWN_BODY, CallFailedError, WebhookCalls
from prefect_ml.protocol.webhook_secrets import UnreadableSecretError, WebhookSecrets
from prefect_ml.settings import Settings
from receiver import Answer, Receiver

NAME = "hooks.corp.example"
EVENT = WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED)
THIS_MACHINE = ["localhost", "LocalHost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0"]
THIS_MACHINE += ["[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"]
OTHER_SCHEMES = ["gopher://hooks.corp.example/", "file:///etc/passwd", "ftp://hooks.corp.example/", "unix:/run/x.sock"]
OTHER_SCHEMES += ["dict://hooks.corp.example:11/", "javascript:alert(1)", "//hooks.corp.example/", "hooks.corp.example"]


def calls(look_up=None, **settings):
    given = {"webhook_hosts": (NAME,), "webhook_http": True, "webhook_timeout": 5.0} | settings
    return WebhookCalls(Settings(**given), *([] if look_up is None else [look_up]))


def webhook(url, secret=None):
    return Webhook("w", "name", url, (EVENT,), 0, 0, sealed_secret=secret)


def send(by, url, secret=None, **how):
    return asyncio.run(by.send(webhook(url, secret), json.dumps({"data": "ü"}), "delivery-1", **how))


class Names:
    """A resolver: it gives the next of its answers each time, and counts."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@pytest.fixture
def receiver():
    with Receiver() as started:
        yield started


def test_the_call_goes_to_the_address_that_was_looked_up_under_the_name(receiver):
    names = Names(["127.0.0.1"])
    answer = send(calls(names), f"http://{NAME}:{receiver.port}/hook?a=1", keep_body=True)
    assert (answer.status, answer.body) == (200, '{"received": true}')
    (call,) = receiver.calls
    assert (call.path, call.headers["host"]) == ("/hook?a=1", f"{NAME}:{receiver.port}")
    assert names.asked == [(NAME, receiver.port)]


def test_a_call_is_signed_over_its_id_its_time_and_its_body(receiver):
    by = calls(Names(["127.0.0.1"]), webhook_key=Fernet.generate_key().decode())
    send(by, f"http://{NAME}:{receiver.port}/", by.secrets.seal("pässword"))
    headers, text = receiver.calls[0].headers, receiver.calls[0].text
    assert abs(int(headers["x-mlflow-timestamp"]) - time.time()) < 10
    signed = f"delivery-1.{headers['x-mlflow-timestamp']}.{text}"
    expected = hmac.new("pässword".encode(), signed.encode(), hashlib.sha256).digest()
    assert headers["x-mlflow-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert headers["x-mlflow-delivery-id"] == "delivery-1"
    assert headers["content-type"] == "application/json"


def test_without_a_secret_nothing_is_signed(receiver):
    send(calls(Names(["127.0.0.1"])), f"http://{NAME}:{receiver.port}/")
    assert "x-mlflow-signature" not in receiver.calls[0].headers


def test_a_resolver_that_changes_its_mind_wins_nothing(receiver):
    """The check sees the first answer; a second look-up would lead to this machine, and there is none."""
    names = Names(["203.0.113.9", "127.0.0.1"], ["127.0.0.1"])
    with pytest.raises(CallFailedError, match="does not call") as refused:
        send(calls(names, webhook_hosts=("*",)), f"http://rebinding.example:{receiver.port}/")
    assert refused.value.final
    public_first = Names(["8.8.8.8"], ["127.0.0.1"])
    with pytest.raises(CallFailedError):
        send(calls(public_first, webhook_hosts=("*",), webhook_timeout=0.5), f"http://re.example:{receiver.port}/")
    assert (len(names.asked), len(public_first.asked), receiver.connections) == (1, 1, 0)


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_this_machine_is_not_called_by_any_of_its_names(receiver, host):
    by = calls(webhook_hosts=("*",))
    with pytest.raises(CallFailedError) as refused:
        send(by, f"http://{host}:{receiver.port}/")
    assert refused.value.final
    assert receiver.connections == 0


@pytest.mark.parametrize("url", OTHER_SCHEMES)
def test_other_schemes_are_not_called(url):
    with pytest.raises(InvalidInputError, match="Invalid webhook URL scheme"):
        calls().check_url(url)


def test_clear_text_is_allowed_by_the_operator_alone():
    with pytest.raises(InvalidInputError, match=r"Invalid webhook URL scheme: 'http'. Allowed schemes are: https\."):
        calls(webhook_http=False).check_url(f"http://{NAME}/")
    assert calls(webhook_http=False).check_url(f"https://{NAME}/") == f"https://{NAME}/"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("   ", r"Webhook URL cannot be empty or just whitespace: '   '"),
        ("http://[invalid", r"Invalid webhook URL 'http://\[invalid': "),
        ("http://", "is no host name"),
        (f"http://{NAME}:99999/", "is no port"),
        (f"http://a\n.{NAME}/", "Invalid webhook URL"),
        ("http://other.example/", "has not listed it"),
    ],
)
def test_a_url_that_cannot_be_called_is_refused_in_words(url, why):
    with pytest.raises(InvalidInputError, match=why):
        calls().check_url(url)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(InvalidInputError, match="must not hold a user name or password") as refused:
        calls().check_url(f"http://user:hunter2@{NAME}/")
    assert "hunter2" not in str(refused.value)


def test_a_redirect_is_not_followed(receiver):
    with Receiver() as inside:
        receiver.plan = [Answer(307, headers={"Location": inside.url})]
        answer = send(calls(Names(["127.0.0.1"])), f"http://{NAME}:{receiver.port}/")
        assert (answer.status, inside.connections) == (307, 0)


def test_the_proxies_of_the_environment_are_not_asked(receiver, monkeypatch):
    with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        send(calls(Names(["127.0.0.1"])), f"http://{NAME}:{receiver.port}/")
        assert (len(receiver.calls), proxy.connections) == (1, 0)


def test_the_next_address_is_tried_when_one_takes_no_connection(receiver):
    answer = send(calls(Names(["127.0.0.3", "127.0.0.1"])), f"http://{NAME}:{receiver.port}/")
    assert answer.status == 200


def test_a_name_that_cannot_be_looked_up_is_tried_again_later():
    with pytest.raises(CallFailedError, match="cannot be reached") as failed:
        send(calls(webhook_hosts=("*",)), "http://nowhere.invalid/")
    assert not failed.value.final


def test_a_receiver_that_answers_in_drops_is_left_in_time(receiver):
    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(40):
            handler.wfile.write(b"X-%d: y\r\n" % number)
            handler.wfile.flush()
            time.sleep(0.1)

    receiver.plan = [Answer(body=drip)]
    started = time.monotonic()
    with pytest.raises(CallFailedError, match="no answer within 1 second"):
        send(calls(Names(["127.0.0.1"]), webhook_timeout=1.0), f"http://{NAME}:{receiver.port}/")
    assert time.monotonic() - started < 2


def test_of_a_long_answer_the_beginning_is_kept_and_only_when_it_is_asked_for(receiver):
    receiver.plan = [Answer(body=b"x" * 3_000_000), Answer(body=b"secret")]
    by = calls(Names(["127.0.0.1"]))
    assert send(by, f"http://{NAME}:{receiver.port}/", keep_body=True).body == "x" * SHOWN_BODY
    assert not send(by, f"http://{NAME}:{receiver.port}/").body


def test_no_key_keeps_no_secrets_and_says_so():
    with pytest.raises(InvalidInputError, match="PREFECT_ML_WEBHOOK_KEY"):
        WebhookSecrets(None).seal("secret")


def test_a_key_that_is_none_is_refused_and_not_shown():
    with pytest.raises(InvalidInputError, match="is no Fernet key; make one with") as refused:
        calls(webhook_key="hunter2")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_key_is_changed_by_putting_a_new_one_before_it():
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    sealed = calls(webhook_key=old).secrets.seal("secret")
    assert calls(webhook_key=f"{new},{old}").secrets.open(sealed) == b"secret"
    with pytest.raises(UnreadableSecretError):
        calls(webhook_key=new).secrets.open(sealed)
    assert "'secret'" not in repr(sealed) + repr(webhook("u", sealed)) + sealed.get_secret_value()
    assert sealed.get_secret_value() not in repr(sealed) + repr(webhook("u", sealed))


def test_a_secret_that_cannot_be_read_is_no_reason_to_send_unsigned(receiver):
    sealed = calls(webhook_key=Fernet.generate_key().decode()).secrets.seal("secret")
    with pytest.raises(CallFailedError, match="encrypted with another key"):
        send(calls(Names(["127.0.0.1"])), f"http://{NAME}:{receiver.port}/", sealed)
    assert receiver.connections == 0


def test_tls_is_asked_for_the_name_and_not_for_the_address(tmp_path, monkeypatch):
    own = _certificate(tmp_path, NAME)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with Receiver(trust=own) as receiver:
        names = Names(["127.0.0.1"])
        assert send(calls(names), f"https://{NAME}:{receiver.port}/").status == 200
        by = calls(names, webhook_hosts=("other.corp.example", "127.0.0.1"))
        for host in ("other.corp.example", "127.0.0.1"):
            with pytest.raises(CallFailedError, match="cannot be reached"):
                send(by, f"https://{host}:{receiver.port}/")
        assert len(receiver.calls) == 1


def _certificate(folder, name):
    """A TLS context with a self-signed certificate for a name, which is also written to `cert.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_the_addresses_of_this_test_are_what_they_are_taken_for():
    assert not ipaddress.ip_address("203.0.113.9").is_global
    assert ipaddress.ip_address("8.8.8.8").is_global
