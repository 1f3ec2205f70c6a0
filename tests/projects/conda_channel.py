"""A real conda, and a channel of packages that are made from what is installed here."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

# What conda puts the environment's path in the place of.
PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"
_LEFT_OUT = {"test", "idlelib", "site-packages", "ensurepip", "lib2to3", "tkinter", "unittest", "__pycache__"}
# The last conda that its makers put on PyPI, and what it needs; it runs on the Pythons of its time.
_CONDA = ("conda==4.3.16", "requests==2.25.1", "urllib3==1.26.5", "idna==2.10", "chardet==4.0.0", "certifi==2021.5.30",
          "pycosat==0.6.3", "ruamel.yaml==0.16.12", "ruamel.yaml.clib==0.2.2")  # fmt: skip
_MAIN = "#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"


def conda_in(folder: Path) -> Path | None:
    """The folder of a `conda`: an installed one's, else one that is made; None where there is no Python for that."""
    for name in ("micromamba", "mamba", "conda"):
        if found := shutil.which(name):
            return Path(found).parent
    # Beside this Python, where pyenv keeps them.
    kept = [str(path) for path in Path(sys.base_prefix).parent.glob("3.6.*/bin/python")]
    old = next(iter(kept), shutil.which("python3.6"))
    if old is None:
        return None
    subprocess.run([old, "-m", "venv", folder], check=True, timeout=120)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *_CONDA], check=True, timeout=300, capture_output=True)
    for name, module in (("conda", "conda.cli.main"), ("conda-env", "conda_env.cli.main")):
        # What pip makes of it refuses to work.
        (folder / "bin" / name).write_text(_MAIN.format(python=python, module=module))
        (folder / "bin" / name).chmod(0o755)
    only = folder / "only"
    only.mkdir()
    for name in ("conda", "conda-env"):
        (only / name).symlink_to(folder / "bin" / name)
    return only


def make_channel(folder: Path) -> str:
    """The URL of a channel with `python`, `pip`, and `greeting`, which is no Python package."""
    version = ".".join(map(str, sys.version_info[:3]))
    short = ".".join(map(str, sys.version_info[:2]))
    _package(folder, "linux-64", "python", version, [], files=_python(short))
    _package(folder, "noarch", "pip", "1.0", [f"python {short}*"], files=_pip(short))
    for number in ("1.0", "2.0"):
        _package(folder, "noarch", "greeting", number, [], files={"share/greeting.txt": f"hello {number}".encode()})
    return folder.as_uri()


def _python(short: str) -> dict[str, bytes | Path]:
    base = Path(sys.base_prefix)
    files: dict[str, bytes | Path] = {
        f"bin/{name}": base / "bin" / f"python{short}" for name in ("python", f"python{short}")
    }
    library = base / "lib" / f"python{short}"
    for root, folders, names in os.walk(library):
        folders[:] = [each for each in folders if each not in _LEFT_OUT and not each.startswith("config-")]
        for name in names:
            path = Path(root, name)
            files[path.relative_to(base).as_posix()] = path
    return files


def _pip(short: str) -> dict[str, bytes | Path]:
    [wheel] = Path(sys.base_prefix, "lib", f"python{short}", "ensurepip", "_bundled").glob("pip-*.whl")
    script = f"#!{PLACEHOLDER}/bin/python\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n"
    with zipfile.ZipFile(wheel) as archive:
        files: dict[str, bytes | Path] = {
            f"lib/python{short}/site-packages/{name}": archive.read(name) for name in archive.namelist()
        }
    return files | {"bin/pip": script.encode()}


def _package(
    channel: Path, subdir: str, name: str, version: str, depends: list[str], *, files: dict[str, bytes | Path]
) -> None:
    """Add a package, as https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html has it."""
    about = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": depends, "subdir": subdir}
    whole = {
        "info/index.json": json.dumps(about).encode(),
        "info/files": "".join(f"{each}\n" for each in files).encode(),
        "info/has_prefix": b"".join(
            f"{PLACEHOLDER} text {each}\n".encode() for each, content in files.items() if each == "bin/pip"
        ),
        **files,
    }
    (channel / subdir).mkdir(parents=True, exist_ok=True)
    path = channel / subdir / f"{name}-{version}-0.tar.bz2"
    with tarfile.open(path, "w:bz2", compresslevel=1) as archive:
        for each, content in whole.items():
            data = content.read_bytes() if isinstance(content, Path) else content
            member = tarfile.TarInfo(each)
            member.size, member.mode = len(data), 0o755 if each.startswith("bin/") else 0o644
            archive.addfile(member, io.BytesIO(data))
    for place in ("linux-64", "noarch"):
        index = channel / place / "repodata.json"
        index.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(index.read_text()) if index.exists() else {"info": {"subdir": place}, "packages": {}}
        if place == subdir:
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            known["packages"][path.name] = {**about, "md5": digest, "size": path.stat().st_size}
        index.write_text(json.dumps(known))
        (channel / place / "repodata.json.bz2").write_bytes(bz2.compress(index.read_bytes()))
