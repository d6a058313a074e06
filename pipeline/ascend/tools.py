"""CANN's programs, called as they expect it: their environment, their text, their end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import identity, progress
from pipeline.ascend import remedies
from pipeline.errors import PipelineError

# PYTHONPATH of the user and of CANN, where the caller had to put the project there instead.
PYTHONPATH_KEPT = "VOVNET_TOOLS_PYTHONPATH"
_TAIL = 1 << 20  # bytes of a tool's text that are searched for a known error
_CHUNK = 1 << 16
_PATIENCE_S = 10
_PROBE_S = 60
_TOLD = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "ASCEND_OPP_PATH")
_ASKS_FOR_AIS_BENCH = """
import importlib.util, sys
for name in ("ais_bench", "aclruntime"):
    if importlib.util.find_spec(name) is None:
        sys.exit(1)
try:
    from importlib.metadata import version
    print(version("ais_bench"))
except ImportError:
    print("of unknown version")
"""


@dataclass(frozen=True)
class Ended:
    """How a tool ended: its exit code (negative: the signal) and the end of what it printed."""

    code: int
    text: str

    @property
    def how(self) -> str:
        """Return the end in words."""
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        return f"was ended by {signal.Signals(-self.code).name}"


def environment() -> dict[str, str]:
    """Return the environment that CANN's tools expect: this one without the project's `.venv`.

    assumed: CANN 5.0's atc compiles with the packages te and topi of its own Python 3.7, which it
    finds by PATH and PYTHONPATH; with `.venv` in front it would find another Python.
    """
    own = str(identity.PROJECT / ".venv")
    found = dict(os.environ)
    path = found.get("PATH", os.defpath).split(os.pathsep)
    found["PATH"] = os.pathsep.join(entry for entry in path if entry != f"{own}/bin")
    if found.get("VIRTUAL_ENV") == own:
        del found["VIRTUAL_ENV"]
    found.pop("PYTHONSAFEPATH", None)  # the front door's, for its own processes
    kept = found.pop(PYTHONPATH_KEPT, None)
    if kept is not None:
        found["PYTHONPATH"] = kept
    if not found.get("PYTHONPATH"):
        found.pop("PYTHONPATH", None)
    return found


def own_environment() -> dict[str, str]:
    """Return the environment for a tool that runs in the project's own Python."""
    return environment() | {"PATH": os.environ.get("PATH", os.defpath)}


def which(name: str) -> Path | None:
    """Return the program `name` as CANN's tools are looked for, or None."""
    found = shutil.which(name, path=environment()["PATH"])
    return Path(found) if found else None


def ask(words: Sequence[str], env: Mapping[str, str] | None = None) -> Ended | None:
    """Run a program that only tells something; return its end and all its text, or None.

    None where it cannot be started or does not answer within a minute.
    """
    try:
        done = subprocess.run(
            words,
            env=environment() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Ended(done.returncode, done.stdout.decode(errors="replace"))


def python_with_ais_bench() -> tuple[str, dict[str, str], str] | None:
    """Return the Python that can import ais_bench, its environment, and the package's version.

    CANN's own is asked first, then the project's. None where neither can.
    """
    python = which("python3")
    version = _ais_bench_in(str(python), environment()) if python else ""
    if python and version:
        return str(python), environment(), version
    version = own_ais_bench()
    return (sys.executable, own_environment(), version) if version else None


def own_ais_bench() -> str:
    """Return the version of the ais_bench that the project's Python finds, or an empty string."""
    return _ais_bench_in(sys.executable, own_environment())


def _ais_bench_in(python: str, env: Mapping[str, str]) -> str:
    answer = ask([python, "-c", _ASKS_FOR_AIS_BENCH], env)
    return answer.text.strip() if answer is not None and answer.code == 0 else ""


def run(
    words: Sequence[str], log: Path, env: Mapping[str, str] | None = None, *, aside: bool = False
) -> Ended:
    """Run a tool in the current folder; its text goes to stdout and to `log` as it comes.

    With `aside`, where it tells what it does and no results, it goes to stderr instead. The tool
    keeps the work folder's lock open, so that no second run begins while an orphan still works.
    """
    env = environment() if env is None else env
    progress.detail(f"runs {words[0]} in {Path.cwd()}; its text is kept in {log}")
    progress.details("its environment", {name: env.get(name, "unset") for name in _TOLD})
    stream = sys.stderr if aside else sys.stdout
    try:
        # Not closing what is inherited passes the lock on; Python's own files do not pass.
        process = subprocess.Popen(
            words,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            close_fds=False,
        )
    except OSError as error:
        raise PipelineError(
            f"{words[0]} cannot be started: {error.strerror}",
            "is it whole, made for this processor, and executable (chmod +x)?",
        ) from error
    tail = bytearray()
    try:
        with log.open("wb") as kept:
            assert process.stdout is not None
            while chunk := os.read(process.stdout.fileno(), _CHUNK):
                kept.write(chunk)
                tail += chunk
                del tail[:-_TAIL]
                stream.buffer.write(chunk)
                stream.flush()
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    return Ended(code, tail.decode(errors="replace"))


def failed(tool: str, ended: Ended, hint: str) -> PipelineError:
    """Return the error of a tool that failed, with the known remedy for its text, or `hint`."""
    return PipelineError(f"{tool} {ended.how}, see above", remedies.find(ended.text) or hint)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
