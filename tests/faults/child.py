"""A command in a session of its own: started, struck, waited for, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.processes import is_deaf

POLL_S = 0.004
LEAVE_S = 10.0  # for processes whose parent was killed

_RUNNING: set[Child] = set()  # to be ended when the suite is interrupted


@dataclass(frozen=True)
class Ended:
    """How a command ended; `hung`: it had to be killed, or left processes that had to be."""

    code: int
    out: str
    err: str
    seconds: float
    hung: bool

    def last_line(self) -> str:
        """Return what it said last, on stderr or else on stdout."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1] if lines else "(it said nothing)"


class Child:
    """One running command. What it prints goes to files: a pipe would outlive it in its workers."""

    def __init__(
        self,
        argv: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        before: Callable[[], None] | None = None,
    ) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the child)
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
            preexec_fn=before,
        )
        self.pid = self._process.pid
        _RUNNING.add(self)

    def is_running(self) -> bool:
        """Say whether the command itself still runs."""
        return self._process.poll() is None

    def seconds(self) -> float:
        """Return how long ago it was started."""
        return time.monotonic() - self._started

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait so long, or until something is there; say whether the command still runs."""
        deadline = time.monotonic() + seconds
        while self.is_running() and time.monotonic() < deadline and not until():
            time.sleep(POLL_S)
        return self.is_running()

    def strike(self, number: signal.Signals, group: bool) -> None:
        """Send a signal to the command, or to all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                self._process.send_signal(number)

    def workers(self) -> list[int]:
        """Return its worker processes; the tracker that `multiprocessing` starts is none."""
        return [n for n in self.session() if n != self.pid and is_deaf(n)]

    def session(self) -> list[int]:
        """Return all that runs of what the command has started."""
        return [int(p.name) for p in Path("/proc").glob("[0-9]*") if _session(p) == self.pid]

    def end(self, limit_s: float, leave_s: float | None = LEAVE_S) -> Ended:
        """Wait for the end, at most so long; whatever is left of it then is killed.

        `leave_s` is for processes that outlive the command; None leaves them alone.
        """
        self.wait(limit_s)
        hung = self.is_running()
        if hung:
            self._kill_all()
        code = self._process.wait()
        seconds = self.seconds()
        if leave_s is not None and not self.leaves_nothing(leave_s):
            hung = True
        _RUNNING.discard(self)
        with self._out, self._err:
            return Ended(code, _text(self._out), _text(self._err), seconds, hung)

    def leaves_nothing(self, seconds: float) -> bool:
        """Wait until nothing of the session runs; what still does by then is killed."""
        gone = self.is_gone(seconds)
        if not gone:
            self._kill_all()
        return gone

    def is_gone(self, seconds: float) -> bool:
        """Wait until nothing of the session runs; say whether that came true in time."""
        deadline = time.monotonic() + seconds
        while self.session():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _kill_all(self) -> None:
        for number in [self.pid, *self.session()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def end_all() -> None:
    """Kill whatever has not been waited for."""
    for child in tuple(_RUNNING):
        child.end(0, 0)


def _session(process: Path) -> int | None:
    """Return the session of a process that runs; None for one that is gone or a zombie."""
    try:
        fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX" and not _has_threads(process):
        return None
    return int(fields[3])


def _has_threads(process: Path) -> bool:
    """Say whether threads outlive the first one: the process's files are open until they end."""
    try:
        return sum(1 for _ in (process / "task").iterdir()) > 1
    except OSError:
        return False


def _text(file: IO[bytes]) -> str:
    # Other processes of the session may hold the same file, and share its position.
    return os.pread(file.fileno(), 1 << 20, 0).decode(errors="backslashreplace")
