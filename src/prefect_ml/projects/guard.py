"""Runs one command and sees that nothing of it is left, whatever becomes of who started this.

It is executed as a file by `python -I -S`, and imports nothing but the standard library. Standard input is a pipe:
a byte in it is the order to stop, its end means that the starter is gone. On Linux it is the subreaper of all that the
command starts (prctl(2)), so that also what left the process group and the session comes back to it and is ended.

Its exit code is the command's; a signal's is 128 and its number, as a shell says it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

_SET_CHILD_SUBREAPER = 36
_SET_DEATH_SIGNAL = 1
_LOOK_SECONDS = 0.1


def main() -> int:
    """`guard.py <grace seconds> <word> <word> ...`."""
    grace, words = float(sys.argv[1]), sys.argv[2:]
    _prctl(_SET_CHILD_SUBREAPER, 1)
    # Who stops a whole group stops the starter, too, which then tells this one.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        child = _Child(words)
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
        return 126 if isinstance(error, PermissionError) else 127
    try:
        _wait(child, awake)
    finally:
        code = _end(child, grace)
    return code if code >= 0 else 128 - code


class _Child:
    """The command; `subprocess` does the same, and takes longer to load than a command to start."""

    def __init__(self, words: list[str]) -> None:
        self._code: int | None = None
        self.pid = os.posix_spawnp(
            words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsid=True, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
        )  # fmt: skip

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


def _wait(child: _Child, awake: int) -> None:
    """Return when the command has ended, or when it is to be."""
    while child.poll() is None:
        ready, _, _ = select.select([0, awake], [], [], 1.0)
        if awake in ready:
            os.read(awake, 64)
            _reap_but(child.pid)
        if 0 in ready:
            return


def _end(child: _Child, grace: float) -> int:
    """End all that is left: what has ended well is not touched, what runs is asked first and then killed."""
    asked = child.poll() is None
    if asked:
        _signal_group(child.pid, signal.SIGTERM)
    until = time.monotonic() + grace
    while child.poll() is None and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS / 5)
    _signal_group(child.pid, signal.SIGKILL)
    code = child.wait()
    while left := _descendants(os.getpid()):
        for pid in left:
            _signal(pid, signal.SIGKILL)
        _reap()
        time.sleep(_LOOK_SECONDS / 10)
    return code


def _descendants(root: int) -> list[int]:
    """Processes below this one, zombies left out; [] where there is no /proc."""
    parents: dict[int, list[int]] = {}
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - as below
    except OSError:
        return []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123 - pathlib would cost more than all of this
                fields = stream.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z":
            parents.setdefault(int(fields[1]), []).append(pid)
    found, queue = [], [root]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _reap_but(pid: int) -> None:
    """Reap what came here and has ended, except for the command, whose end is asked for elsewhere."""
    looked = os.WEXITED | os.WNOHANG | os.WNOWAIT
    try:
        while (ended := os.waitid(os.P_ALL, 0, looked)) is not None and ended.si_pid != pid:
            os.waitpid(ended.si_pid, os.WNOHANG)
    except ChildProcessError:
        return


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - who starts this imports the module to know where it is

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
