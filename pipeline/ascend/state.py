"""Whether the results of one batch size still are what its commands would make.

Batch sizes share devices, so the dumps of one may be gone when it is asked for. Its score stands
all the same, where it was made from just the dumps that its run had left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import chain, record
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class State:
    """Whether the dumps of the run are there, and whether the score from them is."""

    dumps: bool
    score: bool


def of(speed: Path, run: Sequence[str], result: Path, score: Sequence[str]) -> State:
    """Return the state of a run that leaves `speed`, and of the score `result` from its dumps.

    `run` and `score` are the commands as records have them: the script's path, then arguments.
    """
    made, scored = _complete(speed, run), _complete(result, score)
    if made is None:
        return State(False, False)
    outputs = made["outputs"]
    if not _unchanged(made["inputs"] + [entry for entry in outputs if "sha256" in entry]):
        return State(False, False)
    dumps = [entry for entry in outputs if "listing_sha256" in entry]
    there = _unchanged(dumps)
    if scored is None:
        return State(there, False)
    from_these = [e for e in scored["inputs"] if "listing_sha256" in e] == dumps
    others = [e for e in scored["inputs"] + scored["outputs"] if "listing_sha256" not in e]
    return State(there, from_these and _unchanged(others))


def _complete(output: Path, command: Sequence[str]) -> record.Json | None:
    """Return the record of `output` where it is that of a complete run of just this command."""
    try:
        made = record.load(output)
    except PipelineError:
        return None
    if made is None or made["status"] != "complete" or not made.get("good"):
        return None
    same = (
        made["command"] == list(command)
        and made["folder"] == str(Path.cwd())
        and made["code_sha256"] == record.code_digest()
    )
    return made if same else None


def _unchanged(entries: Sequence[record.Json]) -> bool:
    try:
        return all(
            _is_there(Path(entry["path"])) and _same(record.fingerprint(Path(entry["path"])), entry)
            for entry in entries
        )
    except (OSError, KeyError, TypeError):
        return False  # what cannot be read is made anew, and the stage will say why


def _is_there(path: Path) -> bool:
    return path.is_file() or path.is_dir()


def _same(now: record.Json, then: record.Json) -> bool:
    keys = ("sha256", "listing_sha256")
    return [chain.field(now, str, k) for k in keys] == [chain.field(then, str, k) for k in keys]
