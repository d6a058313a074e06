"""An engine that answers at once, so that what is left is the runner's own work."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines import TensorInfo


class NullSession:
    """Takes float32 3x224x224, gives 1,000 seeded scores; see `pipeline.engines.Session`.

    Each batch's outputs are another part of one seeded array, so that the work of formatting them
    is that of real scores.
    """

    engine = "null"
    version = "0"
    precision = "fp32"
    threads = 0
    start = "at once"

    def __init__(self, batch_size: int, requests: int = 1, classes: int = 1000) -> None:
        self.requests = requests
        self.inputs = (TensorInfo("image", (batch_size, 3, 224, 224), np.dtype(np.float32)),)
        self.outputs = (TensorInfo("class", (batch_size, classes), np.dtype(np.float32)),)
        self.executed = [(0, 0)] * requests
        self._scores = np.random.default_rng(0).normal(0, 3, (64, batch_size, classes))
        self._scores = self._scores.astype(np.float32)
        self._number = 0

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Return some scores."""
        now = time.perf_counter_ns()
        self._number += 1
        self.executed[request] = (now, time.perf_counter_ns())
        return [self._scores[self._number % len(self._scores)]]

    def cancel(self) -> None:
        """Do nothing: no call lasts."""
