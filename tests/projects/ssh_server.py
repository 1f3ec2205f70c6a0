"""A real SSH server on loopback with throw-away keys, by which git reads what lies on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self


def sshd() -> str | None:
    """The path of the server, which is on nobody's PATH but root's."""
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


class SshServer:
    """`with` starts and stops it.

    Attributes:
        port: where it listens.
        known: a file of known hosts that has its key.
        key: of the user who may come in.
        stranger: a key of nobody's.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self._folder, self._program = folder, program
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.known, self.key, self.stranger = folder / "known", folder / "key", folder / "stranger"
        for path in (folder / "host", self.key, self.stranger):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path]
            subprocess.run(argv, check=True, timeout=30)
        public = (folder / "host.pub").read_text().split()
        self.known.write_text(f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n")
        (folder / "allowed").write_text((folder / "key.pub").read_text())

    def command(self, key: Path, known: Path) -> str:
        """What git is told to call: no key, agent or file of the user's own takes part."""
        options = ["-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        return shlex.join(["ssh", *options, "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known}"])

    def __enter__(self) -> Self:
        settings = {
            "Port": self.port, "ListenAddress": "127.0.0.1", "HostKey": self._folder / "host", "PidFile": "none",
            "AuthorizedKeysFile": self._folder / "allowed", "StrictModes": "no", "UsePAM": "no",
            "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no", "AllowTcpForwarding": "no",
        }  # fmt: skip
        file = self._folder / "sshd_config"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        # Where it locks its unprivileged part in; packages make it when the service starts.
        Path("/run/sshd").mkdir(exist_ok=True)
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen([self._program, "-D", "-e", "-f", file], stderr=self._log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text())

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()
