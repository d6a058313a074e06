"""Whether the results of one batch size still are what its commands would make.

Batch sizes share devices, so the dumps of one may be gone when it is asked for. Its score stands
all the same, where it was made from just the dumps that its run had left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import identity, record


@dataclass(frozen=True)
class State:
    """Whether the dumps of the run are there, and whether the score from them is."""

    dumps: bool
    score: bool


def of(speed: Path, run: Sequence[str], result: Path, score: Sequence[str]) -> State:
    """Return the state of a run that leaves `speed`, and of the score `result` from its dumps.

    `run` and `score` are the commands as records have them: the script's path, then arguments.
    """
    made, scored = record.of_run(speed, run), record.of_run(result, score)
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


def _unchanged(entries: Sequence[record.Json]) -> bool:
    try:
        return all(map(identity.is_unchanged, entries))
    except (OSError, KeyError, TypeError):
        return False  # what cannot be read is made anew, and the stage will say why
