"""The record that every stage leaves beside its output: what was made, of what, how, with what end.

The record of `X` is `X.record.json`. It lies beside and never inside a folder, because the guide's
own scripts read every file that they find in one. A folder's record is written twice: as `running`
before the first file goes in and as `complete` or `failed` at the end, so that a half-filled folder
is never taken for a whole one. A single file appears whole or not at all (`pipeline.atomic`); its
record follows it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import atomic, identity, lock, machine, progress
from pipeline.errors import PipelineError

SCHEMA = 1
SUFFIX = ".record.json"
_MOST_BYTES = 64 << 20  # of a record: that of a million images has fewer
# Words that only say to begin anew, or what to tell meanwhile: the output is the same with them.
_NO_MATTER = ("--force", "-force", "-q", "--quiet", "-v", "--verbose")
_MANY = 10_000  # files in a folder, from which on a process more is started to read their times

Json = dict[str, Any]

# What a record consists of, as far as others rely on it; the rest is the stage's own.
_KINDS: dict[str, type] = {
    "stage": str,
    "status": str,
    "command": list,
    "folder": str,
    "code_sha256": str,
    "inputs": list,
    "settings": dict,
    "versions": dict,
    "outputs": list,
    "counts": dict,
    "timings_s": dict,
    "details": dict,
    "verdict": str,
}


def path_of(output: Path) -> Path:
    """Return where the record of `output` lies."""
    if output.name in ("", ".."):  # as in "." and "..": a folder has its name in its parent
        output = output.resolve()
    return output.with_name(output.name + SUFFIX)


@dataclass
class Run:
    """What a stage fills in while it works; everything here must be JSON."""

    stage: str
    inputs: Sequence[Path]
    outputs: Sequence[Path]
    settings: Mapping[str, Any]
    packages: Sequence[str] = ()
    counts: Json = field(default_factory=dict)
    timings_s: Json = field(default_factory=dict)
    details: Json = field(default_factory=dict)
    verdict: str = ""
    good: bool = True
    # Returns "inputs", their fingerprints as they were at the beginning, and "versions"; it may
    # have to wait for them. Set while the record is kept.
    identified: Callable[[], Json] = dict


@contextmanager
def keeping(run: Run) -> Iterator[Run]:
    """Keep the record of `run` beside its first output, and that output's lock, while it works.

    Inputs are fingerprinted before the block, outputs after it. Where no record is due before the
    end, a process of its own does so for a large folder, and begins before the block. A block that
    raises leaves the status `failed`. One that ends is `complete`, every item accounted for; `good`
    says whether it found what it should.
    """
    with _locked(run.outputs[0]):
        yield from _keeping(run)


def _keeping(run: Run) -> Iterator[Run]:
    started = time.time()
    clock = time.perf_counter()
    where = path_of(run.outputs[0])
    content: Json = {
        "schema": SCHEMA,
        "stage": run.stage,
        "status": "running",
        "command": _command(),
        "folder": str(Path.cwd()),
        "started_unix_s": round(started, 3),
        "settings": dict(run.settings),
        "code_sha256": identity.code_digest(),
        "details": dict(run.details),
    }
    progress.details("settings", content["settings"])
    with _identifying(run, aside=not run.outputs[0].is_dir()) as identified:
        if run.outputs[0].is_dir():
            _write(where, content | identified())
        run.identified = identified
        try:
            yield run
        except BaseException as error:
            if path_of(run.outputs[0]).exists() and run.outputs[0].is_dir():
                content |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
                content |= identified() | {"counts": run.counts, "details": run.details}
                with contextlib.suppress(OSError):  # the first error is the one to tell
                    _write(where, content)
            raise
        content |= identified()
    content |= {
        "status": "complete",
        "good": run.good,
        "outputs": [identity.fingerprint(path) for path in run.outputs],
        "counts": run.counts,
        "timings_s": {"total": round(time.perf_counter() - clock, 3), **run.timings_s},
        "peak_memory_bytes": machine.peak_memory(),
        "details": run.details,
        "verdict": run.verdict,
    }
    _write(where, content)
    _tell(content)


def _tell(content: Json) -> None:
    """Tell, where details are asked for, what a complete record says."""
    for entry in content["inputs"]:
        kind = "SHA-256" if "sha256" in entry else "SHA-256 of the listing"
        said = entry.get("sha256") or entry.get("listing_sha256")
        progress.detail(f"input: {entry['path']}, {kind} {said}")
    progress.details("versions", content["versions"] | {"code": content["code_sha256"][:12]})
    progress.details("counts", content["counts"])
    progress.details("seconds", content["timings_s"])


def _locked(output: Path) -> contextlib.AbstractContextManager[None]:
    # A folder that the stage has yet to make is nobody else's.
    return lock.holding(output) if path_of(output).parent.is_dir() else contextlib.nullcontext()


def load(output: Path) -> Json | None:
    """Return the record beside `output`, or None where there is none.

    What a record consists of (`_KINDS`) is there and of its type, empty where the file lacks it.
    Raises PipelineError where the record is no JSON object of a schema known here.
    """
    where = path_of(output)
    try:
        content = json.loads(_read(where))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # so none was ever written
            return None
        raise
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not _is_sound(content):
        raise PipelineError(
            f"{where} is not a record of this version",
            "remove it, and the stage that made it runs anew",
        )
    return {key: kind() for key, kind in _KINDS.items()} | content


def _read(where: Path) -> bytes:
    """Return the content of a record; nothing of what is no file, or is far too large for one."""
    # Without waiting for somebody to write, where there is a pipe of that name.
    handle = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            return b""
        with open(handle, "rb", closefd=False) as file:
            return file.read(_MOST_BYTES)
    finally:
        os.close(handle)


def _is_sound(content: Json) -> bool:
    return (
        all(isinstance(content.get(key, kind()), kind) for key, kind in _KINDS.items())
        and all(isinstance(word, str) for word in content.get("command", ()))
        and all(
            isinstance(entry, dict) and isinstance(entry.get("path"), str)
            for entry in [*content.get("inputs", ()), *content.get("outputs", ())]
        )
    )


def copy(output: Path, other: Path) -> None:
    """Keep the record of `output` beside `other` as well, an output of the same run."""
    atomic.write_bytes(path_of(other), path_of(output).read_bytes())


def of_run(output: Path, command: Sequence[str]) -> Json | None:
    """Return the record of `output` where it is that of a good run of just this command.

    That is one that is complete and of this very folder and code; None otherwise.
    """
    try:
        made = load(output)
    except PipelineError:
        return None
    return None if made is None or _is_not_of(made, command) else made


def _is_not_of(made: Json, command: Sequence[str]) -> str:
    """Return why a record is not that of a good run of just this command; nothing where it is."""
    if made["status"] != "complete" or not made.get("good"):
        return "its run did not end well"
    if made["command"] != list(command):
        return "its command was another one"
    if made["folder"] != str(Path.cwd()):
        return "its run was in another folder"
    if made["code_sha256"] != identity.code_digest():
        return "the project's code is another one"
    return ""


def why_not_current(output: Path, command: Sequence[str]) -> str:
    """Return why running `command` again might make another `output`; nothing where it would not.

    It would not where the record is complete and the command, the folder, every input and output,
    the project's code and the packages are what they were.
    """
    try:
        made = load(output)
        if made is None:
            return "it has no record"
        if reason := _is_not_of(made, command):
            return reason
        now = identity.versions(list(made["versions"]))
        if others := [name for name in now if made["versions"][name] != now[name]]:
            return f"other versions of {', '.join(others)}"
        for entry in made["inputs"] + made["outputs"]:
            if not identity.is_unchanged(entry):
                return f"{entry['path']} is not what it was"
    except (PipelineError, KeyError, TypeError, ValueError, OSError):
        # A record that lacks something, or a file that cannot be read: the stage itself will say.
        return "its record cannot be checked"
    return ""


def is_current(output: Path, command: Sequence[str]) -> bool:
    """Say whether running `command` again would make `output` once more, just as it is."""
    return not why_not_current(output, command)


@contextmanager
def _identifying(run: Run, aside: bool) -> Iterator[Callable[[], Json]]:
    """Yield a function that returns what `_identify` finds now.

    With `aside` that is left to a process of its own where an input is a large folder and this
    system can fork.
    """
    from pipeline import shares

    if aside and shares.can_fork() and any(map(_has_many, run.inputs)):
        with shares.ahead(functools.partial(_identify, run)) as identify:
            yield functools.cache(identify)
    else:
        found = _identify(run)
        yield lambda: found


def _identify(run: Run) -> Json:
    """Return the fingerprints of the inputs of `run` and the versions of its packages."""
    return {
        "inputs": [identity.fingerprint(path) for path in run.inputs],
        "versions": identity.versions(run.packages),
    }


def _has_many(path: Path) -> bool:
    if not path.is_dir():
        return False
    with os.scandir(path) as entries:
        return next(itertools.islice(entries, _MANY, None), None) is not None


def _command() -> list[str]:
    """Return how this process was called: the script's path, then its arguments.

    What does not matter to the output is left out.
    """
    return [str(Path(sys.argv[0]).absolute()), *(w for w in sys.argv[1:] if w not in _NO_MATTER)]


def _write(where: Path, content: Json) -> None:
    atomic.write_text(where, json.dumps(content, indent=1) + "\n")
