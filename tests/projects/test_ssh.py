"""Projects in repositories behind SSH: a real server on loopback."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from git_server import git
from ssh_server import SshServer, sshd

from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.projects.plan import make_plan
from prefect_ml.projects.request import Request
from prefect_ml.settings import Settings

pytestmark = pytest.mark.long  # needs a server that few machines have


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    program = sshd()
    if program is None:
        refuse = pytest.fail if os.environ.get("PREFECT_ML_REQUIRE_ALL") == "1" else pytest.skip
        refuse("There is no sshd here: apt-get install openssh-server.")
    with SshServer(tmp_path_factory.mktemp("ssh"), program) as running:
        yield running


@pytest.fixture
def repository(tmp_path):
    """A bare repository with a project in a folder, and the commit that its tag names."""
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "sub" / "main.py").write_text("print('hello')\n")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "work")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message", "one")
    git(work, "tag", "v1")
    git(tmp_path, "clone", "--quiet", "--bare", "work", "team.git")
    return tmp_path / "team.git", git(work, "rev-parse", "HEAD")


def test_a_repository_is_read_by_ssh_with_a_key(server, repository, monkeypatch):
    path, commit = repository
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command(server.key, server.known))
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{server.port}{path}"
    plan = make_plan(Request(f"{url}@v1#sub", "main.py"), Settings())
    assert (plan.source.commit, str(plan.source.uri)) == (commit, f"{url}@{commit}#sub")
    assert (plan.source.folder / "main.py").read_text() == "print('hello')\n"
    with pytest.raises(NotFoundError, match="'v2'"):
        make_plan(Request(f"{url}@v2#sub", "main.py"), Settings())


@pytest.mark.parametrize("what", ["a stranger's key", "a host that nobody knows"])
def test_who_is_not_let_in_is_told_so_and_not_asked(server, repository, monkeypatch, tmp_path, what):
    key, known = (server.stranger, server.known) if what == "a stranger's key" else (server.key, tmp_path / "nobody")
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command(key, known))
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{server.port}{repository[0]}"
    with pytest.raises(InvalidInputError, match=r"Permission denied|Host key verification failed"):
        make_plan(Request(f"{url}@v1#sub", "main.py"), Settings())


@pytest.mark.parametrize("url", [
    "ssh://-oProxyCommand=touch%20made/x.git", "ssh://127.0.0.1:{port}/-oProxyCommand=touch",
    "-oProxyCommand=x:team.git",
    "ssh://ann:secret@127.0.0.1:{port}/team.git", "ssh://$(touch made)@127.0.0.1:{port}/team.git",
])  # fmt: skip
def test_nothing_in_an_ssh_url_is_run(server, monkeypatch, tmp_path, url):
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command(server.key, server.known))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InvalidInputError, NotFoundError)):
        make_plan(Request(url.format(port=server.port), "main.py"), Settings())
    assert not list(tmp_path.rglob("made"))
