"""Read, prepare, infer and write at the same time, over a ring of preallocated batches.

Each batch goes round: free, filled, done, free. There are as many as the ring holds, so every queue
is bounded by it, and a slow module holds up those before it. What happens per batch is a handful
of Python statements; the work itself (system calls, decoding, the engine) runs outside the
interpreter's lock.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.engines import Session
from pipeline.errors import PipelineError
from pipeline.runner import waiting
from pipeline.runner.timing import Interval, Measured, Span

_RING_BYTES = 16 << 20  # more of them only leave the processor's caches
_MOST_SLOTS = 32


@dataclass
class Batch:
    """One slot of the ring: `count` real samples, of which the first is sample `first`.

    `place` counts the batches of the run, `files` is what a source has read and not prepared yet.
    """

    tensor: NDArray[Any]
    first: int = 0
    count: int = 0
    outputs: Sequence[NDArray[Any]] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    place: int = 0


class Source(Protocol):
    """Where samples come from; `read` and `prepare` of one batch run in one thread."""

    names: Sequence[str]
    workers: int

    def read(self, batch: Batch) -> None:
        """Bring the samples of `batch` into memory."""

    def prepare(self, batch: Batch) -> None:
        """Make `batch.tensor[:batch.count]` what the model takes."""


class Sink(Protocol):
    """Where outputs go; one thread writes."""

    def write(self, batch: Batch) -> object:
        """Write the outputs of the real samples of `batch`."""


class Flow:
    """One run of `session` over samples of `source`.

    `batches` are the numbers of those to run, None for all; number n begins at sample
    n x `batch_size`, so that a sample has the same neighbours however many runs it takes.
    """

    def __init__(
        self,
        session: Session,
        source: Source,
        sink: Sink,
        batch_size: int,
        batches: Sequence[int] | None = None,
    ) -> None:
        self._session, self._source, self._sink = session, source, sink
        info = session.inputs[0]
        shape = (batch_size, *(int(size or 0) for size in info.shape[1:]))
        self._batch_size = batch_size
        self._total = len(source.names)
        self._numbers = range(-(-self._total // batch_size)) if batches is None else batches
        self._places = itertools.count()
        self._free: SimpleQueue[Batch | None] = SimpleQueue()
        self._filled: SimpleQueue[Batch | None] = SimpleQueue()
        self._done: SimpleQueue[Batch | None] = SimpleQueue()
        for _ in range(self._slots(info.dtype.itemsize * math.prod(shape))):
            self._free.put(Batch(np.zeros(shape, info.dtype)))
        self._lock = threading.Lock()
        self._reading, self._inferring = source.workers, session.requests
        self._error: BaseException | None = None
        self._stopped = False
        self.written = 0
        self._spans: dict[str, list[Span]] = {"read": [], "prepare": [], "infer": [], "post": []}
        self._executes: list[Interval] = [(0, 0)] * len(self._numbers)
        self._calls_ns = [0] * len(self._numbers)

    def run(self, report: Callable[[int], None]) -> Measured:
        """Run to the end; `report` gets the number of samples written, now and then.

        The first failure in any thread stops all others and is raised here.
        """
        threads = [self._thread(self._read) for _ in range(self._source.workers)]
        threads += [self._thread(self._infer, r) for r in range(self._session.requests)]
        threads.append(self._thread(self._write))
        try:
            for thread in threads:
                thread.start()
            while not threads[-1].wait(waiting.POLL_S):
                report(self.written)
        except BaseException as error:
            self._fail(error)
        if self._error:
            waiting.join_all(threads, self._session.cancel, self._error)
            raise self._error
        for thread in threads:
            thread.wait()
        spans = {module: Span.merged(kept) for module, kept in self._spans.items()}
        return Measured(
            samples=sum(map(self._count, self._numbers)),
            batch_size=self._batch_size,
            executes=self._executes,
            calls_ns=self._calls_ns,
            **spans,
        )

    def _count(self, number: int) -> int:
        """Return how many real samples that batch has."""
        return min(self._batch_size, self._total - number * self._batch_size)

    def _slots(self, batch_bytes: int) -> int:
        """Return how many batches the ring holds: enough to overlap, within 16 MiB if it can."""
        busy = self._source.workers + self._session.requests + 1
        return max(busy + 1, min(_MOST_SLOTS, _RING_BYTES // max(1, batch_bytes)))

    def _read(self) -> None:
        source, now = self._source, time.perf_counter_ns
        reading, preparing = self._span("read"), self._span("prepare")
        while (batch := self._next(self._free)) is not None:
            place = next(self._places)  # one bytecode in CPython: no two threads get the same
            if place >= len(self._numbers):
                break
            number = self._numbers[place]
            batch.place, batch.first = place, number * self._batch_size
            batch.count = self._count(number)
            started = now()
            source.read(batch)
            read = now()
            source.prepare(batch)
            if batch.count < self._batch_size:
                batch.tensor[batch.count :] = batch.tensor[0]
            preparing.add(read, now())
            reading.add(started, read)
            self._filled.put(batch)
        with self._lock:
            self._reading -= 1
            if not self._reading:
                self._end(self._filled, self._session.requests)

    def _infer(self, request: int) -> None:
        session, now, span = self._session, time.perf_counter_ns, self._span("infer")
        while (batch := self._next(self._filled)) is not None:
            started = now()
            try:
                batch.outputs = session.infer(request, batch.tensor)
            except PipelineError as error:
                names = self._source.names
                last = names[batch.first + batch.count - 1]
                where = f"in the batch from {names[batch.first]} to {last}"
                raise PipelineError(f"{error.what} ({where})", error.hint) from error
            ended = now()
            span.add(started, ended)
            self._executes[batch.place] = session.executed[request]
            self._calls_ns[batch.place] = ended - started
            self._done.put(batch)
        with self._lock:
            self._inferring -= 1
            if not self._inferring:
                self._end(self._done, 1)

    def _write(self) -> None:
        sink, now, span = self._sink, time.perf_counter_ns, self._span("post")
        while (batch := self._next(self._done)) is not None:
            started = now()
            sink.write(batch)
            span.add(started, now())
            self.written += batch.count
            self._free.put(batch)

    def _next(self, queue: SimpleQueue[Batch | None]) -> Batch | None:
        batch = queue.get()
        return None if self._stopped else batch

    def _end(self, queue: SimpleQueue[Batch | None], getters: int) -> None:
        for _ in range(getters):
            queue.put(None)

    def _fail(self, error: BaseException) -> None:
        """Keep the first failure and let every thread end."""
        with self._lock:
            if self._error is None:
                self._error = error
            self._stopped = True
        self._end(self._free, self._source.workers)
        self._end(self._filled, self._session.requests)
        self._end(self._done, 1)
        self._session.cancel()

    def _span(self, module: str) -> Span:
        span = Span()
        self._spans[module].append(span)
        return span

    def _thread(self, work: Callable[..., None], *arguments: int) -> waiting.Thread:
        def guarded() -> None:
            try:
                work(*arguments)
            except BaseException as error:  # raised again by `run`, in the main thread
                self._fail(error)

        return waiting.Thread(guarded, work.__name__)
