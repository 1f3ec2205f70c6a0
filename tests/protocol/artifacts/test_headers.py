"""The headers of files, by what the standards say of them."""

from __future__ import annotations

import re
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.artifacts.wire import digest_header, digest_of
from prefect_ml.entities import ArtifactInfo
from prefect_ml.errors import InvalidInputError
from prefect_ml.protocol.artifacts.headers import content_disposition, content_type, part_of

DIGEST = "sha256:" + "ab" * 32
names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


@given(names)
def test_a_name_comes_whole_to_whoever_reads_the_header_by_the_standard(name):
    header = content_disposition(f"folder/{name}")
    header.encode("ascii")
    assert header.startswith("attachment; filename=")
    whole = re.search(r"filename\*=UTF-8''(\S+)$", header)
    parsed = Message()
    parsed["Content-Disposition"] = header
    if whole is None:
        assert header == f"attachment; filename={name}"
    else:
        assert unquote(whole[1], errors="strict") == name
        # The quoted form, for those who know no other, has a placeholder for what it cannot hold.
        quoted = re.fullmatch(r'attachment; filename="((?:[^"\\]|\\.)*)"; filename\*=.*', header)
        plain = re.sub(r"\\(.)", r"\1", quoted[1])
        assert plain == name.encode("ascii", "replace").decode()


@pytest.mark.parametrize("name", ["dog%step%100.png", "model.pkl", "a-b_c.txt"])
def test_a_plain_name_stands_as_mlflows_clients_know_it(name):
    assert content_disposition(name) == f"attachment; filename={name}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("d/MLmodel", "text/plain; charset=utf-8"),
        ("MLproject", "text/plain; charset=utf-8"),
        ("conda.yaml", "text/plain; charset=utf-8"),
        ("a.JSON", "text/plain; charset=utf-8"),
        ("page.html", "text/plain; charset=utf-8"),
        ("script.js", "text/plain; charset=utf-8"),
        ("feed.xml", "text/plain; charset=utf-8"),
        ("roc.png", "image/png"),
        ("roc.svg", "image/svg+xml"),
        ("report.pdf", "application/pdf"),
        ("model.pkl", "application/octet-stream"),
        ("unknown.xyz123", "application/octet-stream"),
        ("weights.tar.gz", "application/octet-stream"),
        ("png", "application/octet-stream"),
        (".png", "image/png"),
        ("a.swf", "application/octet-stream"),
    ],
)
def test_a_type_goes_by_the_name_and_runs_nothing(name, expected):
    assert content_type(name) == expected


@given(names)
def test_no_name_is_given_a_type_that_a_browser_runs(name):
    assert not content_type(name).startswith(("text/html", "application/xhtml", "text/javascript", "application/x-"))


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["{}", "md5=:aa==:, {}", "{}, sha-512=:bb==:"]))
def test_a_digest_comes_back(raw, around):
    digest = f"sha256:{raw.hex()}"
    assert digest_of(around.format(digest_header(digest))) == digest


@pytest.mark.parametrize("header", ["", "md5=:aa==:", "sha-256=abc", "xsha-256=:aaaa:"])
def test_a_header_without_the_digest_gives_none(header):
    assert digest_of(header) is None


def test_a_digest_that_is_no_base64_is_refused():
    with pytest.raises(InvalidInputError, match="base64"):
        digest_of("sha-256=:a:")


@given(st.integers(0, 50), st.text("0123456789-,=bytes ", max_size=14))
def test_a_part_lies_within_the_file(size, text):
    info = ArtifactInfo("f", is_folder=False, size=size, digest=DIGEST)
    part = part_of({b"range": f"bytes={text}".encode()}, info)
    assert part is None or 0 <= part[0] <= part[1] <= size


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_part_is_the_one_that_is_asked_for(size, first, length):
    info = ArtifactInfo("f", is_folder=False, size=size, digest=DIGEST)
    content = bytes(range(size))
    start, stop = part_of({b"range": f"bytes={first}-{first + length}".encode()}, info)
    assert content[start:stop] == content[first : first + length + 1]
    if length:
        start, stop = part_of({b"range": f"bytes=-{length}".encode()}, info)
        assert content[start:stop] == content[-length:]


def test_there_are_no_parts_of_a_file_whose_version_nobody_knows():
    info = ArtifactInfo("f", is_folder=False, size=9, digest=None)
    assert part_of({b"range": b"bytes=0-1"}, info) is None
    known = ArtifactInfo("f", is_folder=False, size=9, digest=DIGEST)
    assert part_of({b"range": b"bytes=0-1", b"if-range": b'"other"'}, known) is None
