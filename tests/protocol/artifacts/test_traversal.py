"""No path of a client leads out of the server's root, by whatever route and in whatever spelling."""

from __future__ import annotations

from urllib.parse import quote

import pytest

FILES = "/api/2.0/mlflow-artifacts"
SECRET = b"top secret"

# As they stand in a URL. Each is refused, or is the odd name of a file that is not there.
SPELLINGS = [
    "..",
    ".",
    "",
    "./",
    "/",
    "../secret",
    "../../secret",
    "a/../../secret",
    "..\\secret",
    "..%5csecret",
    "....//secret",
    ".../secret",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "//host/share",
    "C:/secret",
    "C:%5csecret",
    "file:/etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1/x",
    "s3://bucket/x",
    "%2e%2e/secret",
    "%2e%2e%2fsecret",
    "%2E%2E%2Fsecret",
    "%252e%252e%252fsecret",
    "%25252e%25252e/secret",
    "..%00/secret",
    "%00",
    "a%00.txt",
    "a%0a",
    "..;/secret",
    ";x/../secret",
    "..%3bx/secret",
    "%23/../../secret",
    "%3f/../../secret",
    "..%c0%afsecret",
    "..%ef%bc%8fsecret",
    "%ef%bc%8e%ef%bc%8e/secret",
    "..%e2%88%95secret",
    "..%20/secret",
    "../",
    "secret.",
    "secret%20",
    "link",
    "folder-link/secret",
    ".prefect-ml/lock",
    ".PREFECT-ML/digests",
    "x/.prefect-ml/lock",
]


@pytest.fixture
def planted(server, wire, run, root):
    """A secret beside the server's root, links to it inside, and a file that must be there afterwards."""
    secret = server.folder / "secret"
    secret.write_bytes(SECRET)
    wire.put(f"{root}/keep", b"kept")
    wire.put("keep", b"kept")
    made = []
    for place in (server.artifacts, server.artifacts / root):
        for name, target in (("link", secret), ("folder-link", server.folder)):
            (place / name).symlink_to(target)
            made.append(place / name)
    yield {"run": run["run_id"], "root": root, "secret": secret}
    assert secret.read_bytes() == SECRET
    assert wire.get(f"{root}/keep").body == wire.get("keep").body == b"kept"
    for link in made:
        link.unlink()


@pytest.fixture
def version(api, run):
    name = f"traversal-{run['run_id']}"
    api.post("registered-models/create", name=name)
    api.post("model-versions/create", name=name, source=run["artifact_uri"])
    return name


@pytest.fixture
def model_id(api, run):
    return api.post("logged-models", experiment_id=run["experiment_id"])["model"]["info"]["model_id"]


def routes(planted, version, model_id):
    """Each route with a place for a path: method, the URL around it, whether the place is in the query."""
    run, root = planted["run"], planted["root"]
    for prefix in (f"{FILES}/artifacts", f"/ajax-{FILES[1:]}/artifacts", "/api/prefect-ml/artifacts"):
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            yield method, f"{prefix}/", False
            yield method, f"{prefix}/{root}/", False
    for method, path in (("GET", "presigned"), ("POST", "mpu/create"), ("POST", "mpu/complete"), ("POST", "mpu/abort")):
        yield method, f"{FILES}/{path}/{root}/", False
    yield "GET", f"{FILES}/artifacts?path=", True
    yield "GET", f"{FILES}/artifacts?path={root}/", True
    yield "GET", "/api/prefect-ml/artifacts?path=", True
    for path in ("/api/2.0/mlflow/artifacts/list", "/ajax-api/2.0/mlflow/artifacts/list", "/get-artifact"):
        yield "GET", f"{path}?run_id={run}&path=", True
    yield "GET", f"/model-versions/get-artifact?name={version}&version=1&path=", True
    yield "POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=", True
    directories = f"/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories"
    yield "GET", f"{directories}?artifact_directory_path=", True
    yield "GET", f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files?artifact_file_path=", True


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_route_leads_out_of_the_root(wire, planted, version, model_id, spelling):
    for method, around, in_query in routes(planted, version, model_id):
        # In a query each spelling is also tried encoded once more, so that it arrives as it stands here.
        for given in {spelling, quote(spelling, safe="")} if in_query else {spelling}:
            body = b"overwritten" if method in {"PUT", "POST"} else None
            answer = wire.send(method, f"{around}{given.replace('#', '%23')}", body)
            assert SECRET not in answer.body, (method, around, given)
            assert b"root:" not in answer.body, (method, around, given)
            assert answer.status < 500 or answer.status == 501, (method, around, given, answer.body)
            assert planted["secret"].read_bytes() == SECRET


@pytest.mark.parametrize("spelling", ["", ".", "..", "/", "%2e", "%2f", "./", "%2e/", "..%2f", "?path="])
def test_the_root_is_never_deleted(wire, planted, spelling):
    root = planted["root"]
    for prefix in (f"{FILES}/artifacts", "/api/prefect-ml/artifacts"):
        for place in (f"{prefix}/{spelling}", f"{prefix}/{root}/{spelling}", prefix):
            assert wire.send("DELETE", place).status in {400, 405}
    assert wire.get(f"{root}/keep").body == b"kept"


def test_the_path_of_a_direct_upload_is_checked_in_its_body_too(wire, planted):
    for path in ("../secret", "/etc/passwd", "..", "a\x00", ".prefect-ml/x"):
        body = b'{"path": "%s", "num_parts": 1}' % path.replace("\x00", "\\u0000").encode()
        answer = wire.send("POST", f"{FILES}/mpu/create/{planted['root']}", body, {"Content-Type": "application/json"})
        assert answer.status in {400, 501}
