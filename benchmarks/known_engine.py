"""The engine that answers at once, with answers that depend on what it is asked.

The batches of a run may come in any order, so `NullSession`'s answers, which follow each other,
cannot be checked afterwards. Here the first number of a batch chooses them (`benchmarks.inputs`
puts the sample's number there).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.null_engine import NullSession


class KnownSession(NullSession):
    """See `benchmarks.null_engine.NullSession`; `scores_of` tells what it answers."""

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the scores that belong to the batch's first number."""
        now = time.perf_counter_ns()
        scores = self.scores_of(int(batch.flat[0]))
        self.executed[request] = (now, time.perf_counter_ns())
        return [scores]

    def scores_of(self, first: int) -> NDArray[np.float32]:
        """Return the scores of the batch that begins with sample `first`."""
        scores: NDArray[np.float32] = self._scores[
            first // len(self._scores[0]) % len(self._scores)
        ]
        return scores
