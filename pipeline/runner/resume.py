"""Going on where a run was cut short: which batches are kept, and the ledger of those that follow.

The unit is the batch, as an undisturbed run has it, so that every sample meets the neighbours and
the padding that it would have met. A batch is kept if the ledger has it from just the same session,
and its results are still what was written.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.ledger import Json, Ledger
from pipeline.runner.flow import Batch


class Results(Protocol):
    """A sink whose batches can be told again."""

    def keep(self, done: Mapping[int, list[Any]], batch_size: int) -> set[int]:
        """Return which batches of `done` are as they were written; remove all other results."""

    def write(self, batch: Batch) -> list[Any]:
        """Write the results of `batch`; return what they are told by, as JSON."""


@dataclass(frozen=True)
class Plan:
    """Which batches to run, and how many samples need not be run again."""

    batches: Sequence[int]
    kept: int


def plan(done: Mapping[str, Json], results: Results, samples: int, batch_size: int) -> Plan:
    """Keep what can be kept of `done`, the items of a ledger, and plan the rest.

    Where nothing is left to run, the last batch is run again: no run is without figures.
    """
    count = -(-samples // batch_size)
    marks = {}
    for key, facts in done.items():
        if key.isdecimal() and int(key) < count and isinstance(facts.get("files"), list):
            marks[int(key)] = facts["files"]
    if len(marks) == count:
        del marks[count - 1]
    kept = results.keep(marks, batch_size)
    batches = [number for number in range(count) if number not in kept]
    left = sum(min(batch_size, samples - number * batch_size) for number in batches)
    return Plan(batches, samples - left)


class Booked:
    """A sink that notes each batch in the ledger as soon as its results are written.

    A context manager: once it has been left, nothing is noted any more. A thread that was given up
    may come back from a slow disk, and the ledger's file is closed by then.
    """

    def __init__(self, results: Results, book: Ledger, batch_size: int) -> None:
        self._results, self._book, self._batch_size = results, book, batch_size
        self._lock = threading.Lock()
        self._open = True

    def write(self, batch: Batch) -> None:
        """Write the results of `batch`, then note it."""
        marks = self._results.write(batch)
        with self._lock:
            if self._open:
                self._book.add(str(batch.first // self._batch_size), files=marks)

    def __enter__(self) -> Booked:
        return self

    def __exit__(self, *rest: object) -> None:
        with self._lock:
            self._open = False
