"""The uncommitted changes of a real repository: whole, bounded, without secrets, and without running its programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ml.tracking.capture import git as git_room
from prefect_ml.tracking.capture import patch
from prefect_ml.tracking.capture.redact import REDACTED


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)  # noqa: S607
    return done.stdout.decode()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "train.py").write_text("".join(f"x{n} = {n}\n" for n in range(30)))
    (folder / ".env").write_text("A=1\n")
    (folder / "data.bin").write_bytes(bytes(range(256)))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def changes(folder) -> str:
    for cached in (git_room.git_tags, git_room.git_diff, git_room._no_filters, patch.changes):
        cached.cache_clear()
    return patch.changes(str(folder))


def test_a_clean_repository_and_no_repository_have_no_changes(repository, tmp_path):
    assert changes(repository) == ""
    assert changes(tmp_path) == ""


def test_the_patch_brings_the_code_back(repository, tmp_path):
    changed = (repository / "train.py").read_text().replace("x3 = 3\n", "x3 = 'ü'\n").replace("x20 = 20\n", "")
    (repository / "train.py").write_text(changed)
    (repository / "new.py").write_text("staged = 1\n")
    git(repository, "add", "new.py")
    found = changes(repository)
    (tmp_path / "p").write_text(found)
    git(repository, "reset", "-q", "--hard")
    git(repository, "apply", str(tmp_path / "p"))
    assert (repository / "train.py").read_text() == changed
    assert (repository / "new.py").read_text() == "staged = 1\n"


def test_it_is_the_whole_repository_from_any_folder_of_it(repository):
    (repository / "deep").mkdir()
    (repository / "train.py").write_text("y = 1\n")
    assert "+y = 1" in changes(repository / "deep")


def test_secrets_in_lines_are_redacted_and_the_rest_is_kept(repository):
    with (repository / "train.py").open("a") as file:
        file.write("password = 'hunter2'\nkept = 1\n")
    found = changes(repository)
    assert "hunter2" not in found
    assert f"+password = {REDACTED}" in found
    assert "+kept = 1" in found


def test_removed_and_unchanged_secrets_are_redacted_too(repository):
    (repository / "c.py").write_text("password = 'hunter2'\na = 1\napi_token = 'old-secret-99-abc'\n")
    git(repository, "add", "c.py")
    git(repository, "commit", "-q", "-m", "second")
    (repository / "c.py").write_text("password = 'hunter2'\na = 2\n")
    found = changes(repository)
    assert "hunter2" not in found
    assert "old-secret-99-abc" not in found
    assert "+a = 2" in found


@pytest.mark.parametrize("name", [".env", "deep/ü .env", 'a"b/secrets.toml', "id_rsa", "x y.pem"])
def test_files_for_secrets_are_named_alone(repository, name):
    path = repository / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("A=plain-word\n")
    git(repository, "add", "-f", name)
    (repository / "train.py").write_text("kept = 1\n")
    found = changes(repository)
    assert "plain-word" not in found
    assert "such files hold secrets" in found
    assert "+kept = 1" in found


def test_binary_files_are_named_alone(repository):
    (repository / "data.bin").write_bytes(bytes(range(255, -1, -1)))
    assert "Binary files a/data.bin and b/data.bin differ" in changes(repository)


def test_large_changes_are_cut_between_files(repository):
    (repository / "aaa.csv").write_text("1,2,3\n" * 300_000)
    (repository / "zzz.py").write_text("kept = 1\n")
    git(repository, "add", ".")
    found = changes(repository)
    assert len(found.encode()) <= patch.MOST_BYTES + 20_000
    assert "# aaa.csv: " in found
    assert "+kept = 1" in found
    assert "1,2,3" not in found


def test_changes_without_end_are_bounded(repository):
    (repository / "a.csv").write_text("1,2,3\n" * 4_000_000)
    for number in range(300):
        (repository / f"b{number}.py").write_text("x\n" * 2000)
    git(repository, "add", ".")
    found = changes(repository)
    assert len(found.encode()) <= patch.MOST_BYTES + 20_000


TRAP = "#!/bin/sh\ntouch {sprung}\ncat\n"


@pytest.mark.parametrize(
    "configuration",
    [
        {"core.fsmonitor": "{trap}"},
        {"diff.external": "{trap}"},
        {"diff.evil.command": "{trap}"},
        {"diff.evil.textconv": "{trap}"},
        {"filter.evil.clean": "{trap}", "filter.evil.required": "true"},
        {"filter.evil.process": "{trap}", "filter.evil.required": "true"},
        {"filter.e=v.i l.clean": "{trap}"},
        {"core.pager": "{trap}", "pager.diff": "{trap}"},
        {"core.hooksPath": "{hooks}"},
        {"core.sshCommand": "{trap}", "remote.origin.promisor": "true", "remote.origin.url": "ssh://host/x"},
        {"alias.diff": "!{trap}", "alias.status": "!{trap}"},
        {"diff.trustExitCode": "true", "interactive.diffFilter": "{trap}"},
    ],
)
def test_no_program_of_the_repository_runs(repository, configuration, tmp_path):
    sprung, trap, hooks = tmp_path / "sprung", tmp_path / "trap.sh", tmp_path / "hooks"
    trap.write_text(TRAP.format(sprung=sprung))
    trap.chmod(0o755)
    hooks.mkdir()
    for hook in ("post-index-change", "pre-commit", "post-checkout"):
        (hooks / hook).write_text(TRAP.format(sprung=sprung))
        (hooks / hook).chmod(0o755)
    (repository / ".git" / "hooks" / "post-index-change").write_text(TRAP.format(sprung=sprung))
    (repository / ".git" / "hooks" / "post-index-change").chmod(0o755)
    name = next((key.split(".", 1)[1].rpartition(".")[0] for key in configuration if key.count(".") > 1), "evil")
    (repository / ".git" / "info").mkdir(exist_ok=True)
    attribute = "evil" if "=" in name else name
    (repository / ".git" / "info" / "attributes").write_text(f"*.py diff={attribute} filter={attribute}\n")
    for key, value in configuration.items():
        git(repository, "config", key, value.format(trap=trap, hooks=hooks))
    (repository / "train.py").write_text("kept = 1\n")
    sprung.unlink(missing_ok=True)
    found = changes(repository)
    assert not sprung.exists()
    assert "+kept = 1" in found


def test_the_trap_would_spring(repository, tmp_path):
    sprung, trap = tmp_path / "sprung", tmp_path / "trap.sh"
    trap.write_text(TRAP.format(sprung=sprung))
    trap.chmod(0o755)
    (repository / ".git" / "info" / "attributes").write_text("*.py filter=evil\n")
    git(repository, "config", "filter.evil.clean", str(trap))
    (repository / "train.py").write_text("kept = 1\n")
    git(repository, "diff", "HEAD")
    assert sprung.exists()


def test_a_submodules_programs_do_not_run(repository, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "a.py").write_text("a\n")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "inner")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    git(repository, "commit", "-q", "-m", "with submodule")
    sprung, trap = tmp_path / "sprung", tmp_path / "trap.sh"
    trap.write_text(TRAP.format(sprung=sprung))
    trap.chmod(0o755)
    git(repository / "sub", "config", "core.fsmonitor", str(trap))
    (repository / "sub" / "a.py").write_text("b\n")
    (repository / "train.py").write_text("kept = 1\n")
    sprung.unlink(missing_ok=True)
    assert "+kept = 1" in changes(repository)
    assert not sprung.exists()


def test_variables_of_an_outer_git_are_not_followed(repository, tmp_path, monkeypatch):
    (repository / "train.py").write_text("kept = 1\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    assert "+kept = 1" in changes(repository)


def test_a_git_that_hangs_is_given_up(repository, tmp_path, monkeypatch):
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    monkeypatch.setattr(git_room, "_SECONDS", 0.2)
    assert changes(repository) == ""


def test_untracked_files_are_counted_alone(repository):
    (repository / "private-name.txt").write_text("x")
    (repository / "many").mkdir()
    for number in range(5):
        (repository / "many" / str(number)).write_text("x")
    assert changes(repository) == ""
    tags = git_room.git_tags(str(repository))
    assert (tags[git_room.UNTRACKED], tags[git_room.DIRTY]) == ("2", "false")
    assert "private-name" not in str(tags)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.text(alphabet="abc \t\r\\\"'+-@#=:[]üdiff --git", max_size=40).filter(lambda line: "pass" not in line),
        min_size=1,
        max_size=12,
    )
)
def test_lines_of_any_content_come_back(tmp_path_factory, lines):
    folder: Path = tmp_path_factory.mktemp("lines")
    git(folder, "init", "-q")
    git(folder, "config", "core.autocrlf", "false")
    (folder / "a.txt").write_text("start\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    text = "\n".join(lines) + "\n"
    (folder / "a.txt").write_bytes(text.encode())
    found = changes(folder)
    git(folder, "checkout", "-q", "a.txt")
    (folder / "p").write_bytes(found.encode())
    git(folder, "apply", "--whitespace=nowarn", "p")
    assert (folder / "a.txt").read_bytes() == text.encode()
