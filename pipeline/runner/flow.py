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

from numpy.typing import NDArray

from pipeline.engines import DeviceLost, Session, new_batch
from pipeline.errors import PipelineError
from pipeline.runner import waiting
from pipeline.runner.timing import Call, Interval, Measured, Span

_RING_BYTES = 16 << 20  # more of them only leave the processor's caches
_MOST_SLOTS = 32
_MOST_NAMED = 3  # batches that a message names


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
            self._free.put(Batch(new_batch(session, shape)))
        self._lock = threading.Lock()
        self._reading, self._inferring = source.workers, session.requests
        self._error: BaseException | None = None
        self._stopped = self._stranded = False
        self.written = 0
        self._spans: dict[str, list[Span]] = {"read": [], "prepare": [], "infer": [], "post": []}
        self._executes: list[Interval] = [(0, 0)] * len(self._numbers)
        self._ran: list[Call | None] = [None] * len(self._numbers)
        self._done_places: set[int] = set()
        self._lost: list[DeviceLost] = []

    def run(self, report: Callable[[int], None]) -> Measured:
        """Run to the end; `report` gets the number of samples written, now and then.

        The first failure in any thread stops all others and is raised here. A device that fails
        stops alone: the others do what is left but for the batches that were on it.
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
        if self._lost:
            raise self._loss()
        spans = {module: Span.merged(kept) for module, kept in self._spans.items()}
        return Measured(
            samples=sum(map(self._count, self._numbers)),
            batch_size=self._batch_size,
            executes=self._executes,
            calls_ns=[call.end - call.start for call in self._ran if call],
            ran=[call for call in self._ran if call],
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
        while not self._stranded and (batch := self._next(self._free)) is not None:
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
        own_times: list[Interval] | None = getattr(session, "called", None)
        while (batch := self._next(self._filled)) is not None:
            started = now()
            try:
                batch.outputs = session.infer(request, batch.tensor)
            except DeviceLost as error:
                self._lose(error, batch)
                break
            except PipelineError as error:
                names = self._source.names
                last = names[batch.first + batch.count - 1]
                where = f"in the batch from {names[batch.first]} to {last}"
                raise PipelineError(f"{error.what} ({where})", error.hint) from error
            ended = now()
            span.add(started, ended)
            self._executes[batch.place] = session.executed[request]
            # Where calls wait for their turn, the session knows the call's own times.
            own = own_times[request] if own_times else (started, ended)
            self._ran[batch.place] = Call(request, batch.count, *own)
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
            self._done_places.add(batch.place)
            self._free.put(batch)

    def _lose(self, error: DeviceLost, batch: Batch) -> None:
        """Go on without the device that a batch was on; stop reading where it was the last one."""
        with self._lock:
            if error not in self._lost:
                self._lost.append(error)
            self._stranded = self._inferring == 1
        self._free.put(batch)
        if self._stranded:
            self._end(self._free, self._source.workers)

    def _loss(self) -> DeviceLost:
        """Return one error for all devices that failed, and what was lost with them."""
        said = ", and ".join(error.what for error in self._lost)
        missing = self.missing()
        count = sum(map(self._count, missing))
        first = missing[:_MOST_NAMED]
        parts = ", ".join(map(self._range, first))
        more = f" and {len(missing) - len(first)} more batches" if len(missing) > len(first) else ""
        what = f"{said}: {count} of {self._total} samples are missing ({parts}{more})"
        return DeviceLost(what, self._lost[0].hint)

    def missing(self) -> list[int]:
        """Return the numbers of the batches that are not written."""
        return [n for place, n in enumerate(self._numbers) if place not in self._done_places]

    def _range(self, number: int) -> str:
        first = number * self._batch_size
        names = self._source.names[first : first + self._count(number)]
        return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"

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
