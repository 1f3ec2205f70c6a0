"""No secret survives redaction, and ordinary code does."""

from __future__ import annotations

import string
import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.tracking.capture.redact import _SECRET_FILES, REDACTED, is_secret_file, redacted, redacted_text

# Made up, in the shape of real ones; joined here so that no scanner takes this file for a leak.
SECRETS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_" + "11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "glpat-" + "xxxxyyyyzzzz11112222",
    "sk-" + "proj-abcdefghijklmnopqrstuvwxyz012345",
    "sk-ant-" + "api03-abcdefghijklmnop",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "xoxb-" + "123456789012-abcdefghijkl",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "pnu_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "npm_" + "abcdefghijklmnopqrstuvwxyz0123456789",
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "dapi" + "0123456789abcdef0123456789abcdef",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("line", ["x = {}", "client('{}')", '{{"a": "{}"}}', "{}", "curl -H 'x: {}' host", "a/{}/b"])
def test_tokens_by_their_prefix(secret, line):
    assert secret not in redacted_text(line.format(secret))
    assert REDACTED in redacted_text(line.format(secret))


@pytest.mark.parametrize(
    "line",
    [
        "password = '{}'",
        "PASSWORD={}",
        "db_password: {}",
        '    "password": "{}",',
        "password: str = '{}'",
        "connect(user='me', password='{}')",
        "os.environ['DB_PASSWORD'] = '{}'",
        'os.environ.setdefault("DB_PASSWORD", "{}")',
        "--password {}",
        "--password={}",
        "passwd={}",
        "MY_SECRET = '{}'",
        "client_secret = '{}'",
        "AWS_SECRET_ACCESS_KEY={}",
        "AccountKey={};EndpointSuffix=x",
        "url = 'postgresql://me:{}@host/db'",
        "git clone https://{}@host/x",
        "headers = {{'Authorization': 'Bearer {}'}}",
        "headers = {{'Authorization': 'Basic {}'}}",
        "curl -H 'Authorization: Bearer {}' host",
        "auth = 'Bearer {}'",
        "password = \\\n    '{}'",
        "password = (\n\n    '{}')",
        "password: >-\n  {}",
    ],
)
@pytest.mark.parametrize("secret", ["hunter2", "correct horse", "Pa$$w0rd!", "zq8N3vK1xY7wB5tR"])
def test_values_of_passwords(line, secret):
    if ("://" in line or "Bearer" in line or "Basic" in line) and " " in secret:
        secret = secret.replace(" ", "-")
    assert secret not in redacted_text(line.format(secret))


@pytest.mark.parametrize(
    "line",
    [
        "token = '{}'", "API_TOKEN={}", "api_key: {}", 'os.environ["WANDB_API_KEY"] = "{}"', "login(token='{}')",
        "cookie: session={}", "https://host/x?sig={}&a=b", "connection_string = 'x;Key={}'", "webhook = 'https://h/{}'",
        "%env API_TOKEN {}", "auth=('me', '{}')",
    ],
)  # fmt: skip
@given(st.data())
def test_what_looks_random_beside_the_name_of_a_secret(line, data):
    alphabet = string.ascii_letters + string.digits
    secret = data.draw(st.text(alphabet, min_size=20, max_size=60).filter(lambda t: len(set(t)) > 9))
    if not any(c.isdigit() for c in secret):
        secret = "7" + secret
    if not any(c.isalpha() for c in secret):
        secret = "k" + secret
    assert secret not in redacted_text(line.format(secret))


KEY = "\n".join(
    ["-----BEGIN RSA " + "PRIVATE KEY-----", *["MIIEow" + "IBAAKCAQEA" * 4 + str(n) for n in range(9)], "short==",
     "-----END RSA " + "PRIVATE KEY-----"]
)  # fmt: skip


@pytest.mark.parametrize("kind", ["RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED "])
def test_private_keys(kind):
    text = f"before\n{KEY.replace('RSA ', kind)}\nafter"
    lines = redacted_text(text).split("\n")
    assert (lines[0], lines[-1]) == ("before", "after")
    assert set(lines[1:-1]) == {REDACTED}


def test_a_part_of_a_private_key_without_its_frame():
    middle = KEY.split("\n")[2:5]
    assert set(redacted([f"+{line}" for line in middle], marks=1)) == {f"+{REDACTED}"}


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np",
        "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
        "max_tokens = 512",
        "model.fit(X, y, sample_weight=w)",
        "def train(alpha: float = 0.1, epochs: int = 10) -> dict[str, float]:",
        "digest = '9ae5a3c49d3c4b1a8c7f3b7f2f1d0c9e8b7a6f5e'",
        "author = 'me'",
        "sorted(rows, key=lambda row: row.created)",
        "url = 'https://example.com/data/churn.parquet?version=2'",
        "",
        "# a basic training loop: digest values, then bearer bonds",
        "    # the token of the next word is padded",
    ],
)
def test_ordinary_code_stays_as_it_is(line):
    assert redacted_text(line) == line


@pytest.mark.parametrize(
    "name",
    [".env", "a/.env", "a/.env.production", "prod.env", "key.pem", "id_rsa", "x/.ssh/id_ed25519.pub", ".netrc",
     "secrets.toml", ".streamlit/secrets.toml", "terraform.tfvars", "a\\b\\.ENV", "credentials", "gcp-credentials.json",
     ".pypirc", "server.key"],
)  # fmt: skip
def test_files_for_secrets(name):
    assert is_secret_file(name)


@pytest.mark.parametrize("name", ["train.py", "environment.yml", "keys.py", "env.py", "README.md", "monkey.txt"])
def test_other_files(name):
    assert not is_secret_file(name)


@given(st.lists(st.text(max_size=200).map(lambda t: t.replace("\n", "")), max_size=20), st.sampled_from([0, 1]))
def test_there_are_as_many_lines_as_before(lines, marks):
    found = list(redacted(lines, marks=marks))
    assert len(found) == len(lines)
    assert [line[:marks] for line in found] == [line[:marks] for line in lines]


@given(st.text(max_size=300))
def test_it_is_idempotent_enough_to_leak_nothing_more(text):
    once = redacted_text(text)
    assert len(redacted_text(once).split("\n")) == len(text.split("\n"))


@pytest.mark.parametrize(
    "text",
    ["password" * 500, "://" * 1300, "a" * 3999, "eyJ" + "a." * 1900, "token" + "aB1" * 1300, "-----BEGIN " * 360,
     "password " * 440, "secret" + "-" * 3900, "://" + "a" * 3900, "bearer " * 500, "'" * 3999 + ","],
)  # fmt: skip
def test_time_is_linear(text):
    start = time.process_time()
    for _ in range(10):
        redacted_text(text)
    assert time.process_time() - start < 1.0


def test_long_lines_are_left_out():
    assert redacted_text("x" * 4001) == "[left out: a line of 4001 characters]"


@given(st.lists(st.sampled_from([*{part for each in _SECRET_FILES for part in each.split("*") if part}, ".", "x"])))
def test_the_patterns_of_secret_files_are_those_of_a_shell(parts):
    name = "".join(parts)
    assert is_secret_file(f"folder/{name}") == any(fnmatchcase(name, pattern) for pattern in _SECRET_FILES)
