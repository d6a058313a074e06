"""Where the tries happen: the given data, the undisturbed runs, and what a result must be."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import ledger, record
from pipeline.errors import PipelineError
from tests.faults.child import Child, Ended
from tests.faults.tally import Problem

LAYER = Path(__file__).resolve().parent / "layer"
PROJECT = LAYER.parent.parent.parent
PYTHON = sys.executable
START_S = 60.0  # for a command to start on a machine with much to do, before it counts as hung
_COUNTS = ("given", "done", "refused", "samples", "dumped", "images", "labelled")  # must not differ

Spec = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One command of the pipeline, run in a folder of its own beside the given data."""

    name: str
    argv: tuple[str, ...]
    outputs: tuple[str, ...] = ()  # each with a record; what it is for the lock is the first
    takes: tuple[str, ...] = ()  # of the given data, copied into the folder before
    figures: tuple[str, ...] = ()  # patterns of files that hold times: there, and not compared
    items: str = ""  # the folder that gets files item by item
    next: tuple[str, ...] = ()  # a command that must refuse what a broken run has left
    next_makes: str = ""
    prints: bool = False  # the result is what it prints
    script: bool = False  # it runs other commands
    costly: bool = False
    weight: float = 1.0  # in the draw of stages


@dataclass(frozen=True)
class Reference:
    """An undisturbed run; `first_s`: when the first sign of it could be seen in the folder."""

    files: Mapping[str, str]
    out: str
    counts: Mapping[str, Mapping[str, int]]
    seconds: float
    first_s: float | None
    bytes: int


class Ground:
    """A folder with the given data in `given/` and a new folder beside it for each try."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.given = root / "given"
        self._number = 0
        self._references: dict[tuple[str, bool], Reference] = {}

    def fresh(self, stage: Stage, folder: Path | None = None) -> Path:
        """Return a new folder (or this one) with what the stage takes from the given data."""
        if folder is None:
            self._number += 1
            folder = self.root / f"try-{self._number:04}"
            folder.mkdir()
        for name in stage.takes:
            shutil.copy2(self.given / name, folder / name)
        return folder

    def start(
        self,
        stage: Stage,
        folder: Path,
        spec: Spec | None = None,
        before: Callable[[], None] | None = None,
        extra: tuple[str, ...] = (),
    ) -> Child:
        """Start the stage; `spec` is what the layer does to it, `before` runs in the child."""
        environment = {**os.environ, "VOVNET39_CACHE": "off", "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = str(PROJECT)
        if spec is not None:
            environment["PYTHONPATH"] = f"{LAYER}{os.pathsep}{PROJECT}"
            environment["FAULT_LAYER"] = json.dumps({"under": str(self.root)} | spec)
        return Child([*stage.argv, *extra], folder, environment, before)

    def keep_words(self, folder: Path, ended: Ended) -> None:
        """Keep what a run said, for who looks into it later."""
        with folder.with_name(f"{folder.name}.said").open("a") as file:
            file.write(f"{ended.out}{ended.err}exit code {ended.code}\n")

    def run(self, stage: Stage, folder: Path, **how: Any) -> Ended:
        """Run the stage to its end."""
        return self.start(stage, folder, **how).end(self.limit_s(stage))

    def limit_s(self, stage: Stage) -> float:
        """Return how long a run may take before it counts as hung."""
        known = self._references.get((stage.name, False))
        return START_S + (20 * known.seconds if known else 600.0)

    def reference(self, stage: Stage, slow: Spec | None = None) -> Reference:
        """Return the undisturbed run of a stage; it is made when it is first asked for.

        With `slow` it is one under that layer, for its times; its result must be the same.
        """
        key = stage.name, slow is not None
        if key not in self._references:
            plain = None if slow is None else self.reference(stage)
            made = self._undisturbed(stage, slow)
            if plain is not None and plain.files != made.files:
                raise AssertionError(f"{stage.name}: a slow file system changes the result")
            self._references[key] = made
        return self._references[key]

    def _undisturbed(self, stage: Stage, slow: Spec | None) -> Reference:
        folder = self.fresh(stage)
        child = self.start(stage, folder, slow)
        seen = see(folder)
        running = child.wait(self.limit_s(stage), seen)
        first_s = round(child.seconds(), 3) if running else None
        ended = child.end(self.limit_s(stage))
        if ended.code or ended.hung:
            raise AssertionError(f"{stage.name} fails undisturbed: {ended.last_line()}")
        files = digests(stage, folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        counts = {name: _counts(folder / name) for name in stage.outputs}
        shutil.rmtree(folder)
        return Reference(files, ended.out, counts, ended.seconds, first_s, size)

    def check(self, stage: Stage, folder: Path, ended: Ended) -> list[Problem]:
        """Return what tells the last run in a folder from an undisturbed one."""
        known = self.reference(stage)
        if ended.hung:
            return [Problem("hung", f"the run did not end: {ended.last_line()}")]
        if ended.code:
            return [Problem("wrong", f"exit code {ended.code}: {ended.last_line()}")]
        there = digests(stage, folder)
        missing = sorted(known.files.keys() - there.keys())
        extra = sorted(there.keys() - known.files.keys())
        other = sorted(n for n in known.files.keys() & there.keys() if known.files[n] != there[n])
        found = [Problem("lost", f"missing: {_some(missing)}")] if missing else []
        found += [Problem("wrong", f"left behind: {_some(extra)}")] if extra else []
        found += [Problem("wrong", f"other content: {_some(other)}")] if other else []
        if stage.prints and ended.out != known.out:
            found.append(Problem("wrong", f"it printed something else: {ended.last_line()}"))
        return found + list(self._check_records(stage, folder, known))

    def _check_records(self, stage: Stage, folder: Path, known: Reference) -> Iterator[Problem]:
        for name in stage.outputs:
            made = record.load(folder / name)
            if made is None or (made.get("status"), made.get("good")) != ("complete", True):
                status = made and made.get("status")
                yield Problem("wrong", f"the record of {name} says {status}")
            elif (counts := _counts(folder / name)) != known.counts[name]:
                yield Problem("lost", f"the record of {name} counts {counts}")


def see(folder: Path) -> Callable[[], bool]:
    """Return a function that says whether something in `folder` is new, or newer than now."""

    def look() -> set[tuple[str, int]]:
        with os.scandir(folder) as entries:
            return {(e.name, e.stat(follow_symlinks=False).st_mtime_ns) for e in entries}

    before = look()

    def is_seen() -> bool:
        try:
            return not look() <= before
        except FileNotFoundError:  # it was there a moment ago
            return True

    return is_seen


def digests(stage: Stage, folder: Path) -> dict[str, str]:
    """Return the digest of each file below `folder`, "there" for those with times in them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or name.endswith(ledger.SUFFIX):
            continue
        timed = name.endswith(record.SUFFIX)
        timed = timed or any(fnmatch.fnmatch(name, pattern) for pattern in stage.figures)
        content = path.read_bytes()
        found[name] = f"{'there' if content else 'empty'}" if timed else _digest(content)
    return found


def ledger_items(folder: Path, stage: Stage) -> list[dict[str, Any]]:
    """Return the items of a stage's ledger in their order, each once, `durable` where they are."""
    path = ledger.path_of(folder / stage.items)
    items: dict[str, dict[str, Any]] = {}
    session: list[str] = []
    for line in path.read_bytes().splitlines() if stage.items and path.exists() else []:
        try:
            entry = json.loads(line[9:])
        except ValueError:
            break
        if "session" in entry:
            session = []
        elif "item" in entry:
            session.append(str(entry["item"]))
            items[session[-1]] = entry
        elif "durable" in entry:
            for name in session[: entry["durable"]]:
                items[name]["durable"] = True
    return list(items.values())


def is_complete(stage: Stage, folder: Path) -> bool:
    """Say whether the record of what a stage makes tells of a complete run."""
    try:
        made = record.load(folder / stage.outputs[0]) if stage.outputs else None
    except PipelineError:
        return False
    return made is not None and made.get("status") == "complete"


def marks(folder: Path, stage: Stage) -> dict[str, tuple[int, int]]:
    """Return what changes when one of the items' files is made anew."""
    place = folder / stage.items
    if not stage.items or not place.is_dir():
        return {}
    with os.scandir(place) as entries:
        return {e.name: (e.inode(), e.stat().st_mtime_ns) for e in entries if e.is_file()}


def _counts(output: Path) -> dict[str, int]:
    made = record.load(output) or {}
    return {key: made.get("counts", {})[key] for key in _COUNTS if key in made.get("counts", {})}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(map(repr, names[:2]))}{more}"
