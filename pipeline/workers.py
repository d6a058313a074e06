"""Work spread over processes that start quickly, stop promptly and do not outlive their parent."""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from pipeline.errors import PipelineError
from pipeline.worker_process import can_fork_after, start_forked, start_fresh

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

AHEAD = 2  # chunks per worker on their way, so that it never waits for the next one
STOP_S = 5.0  # for a worker to end before it is killed

# A library's bug ends a process by one of these. SIGPROF: the work's own limit of processor time.
CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGPROF}
)
MOST_CRASHES = 10  # before anything has worked: then it is not the items


@dataclass
class _Task:
    chunk: Any
    alone: bool = False  # the first that its process has got, and of one item


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    under_way: deque[_Task] = field(default_factory=deque)


@contextlib.contextmanager
def running(
    work: Callable[[Chunk], Result],
    chunks: Iterable[Chunk],
    workers: int,
    crashed: Callable[[Chunk, str], Result] | None = None,
    load: Callable[[], object] | None = None,
) -> Iterator[Iterator[Result]]:
    """Have `workers` processes for the block; yield `work(chunk)` of all chunks, as they get done.

    `work` and the chunks cross by pickle; `work` belongs to a module that imports fast, since a
    fresh process imports it anew. An exception in `work` is raised by the iterator, a process that
    dies or does not start raises PipelineError, and when the block ends, in whatever way, all
    processes have ended.

    With `load`, which imports what the work needs, the processes are forked from this one after a
    call of it, unless something is in the way (`worker_process.can_fork_after`); else each is
    fresh. What is loaded so has one thread, in this process as well. Begin such a block before a
    thread is started.

    With `crashed`, chunks are sequences, and a process that a bug in a library crashed is replaced.
    What it has not answered is done again, item by item, so that a chunk may come back in parts.
    For an item that crashes a fresh process as well, `crashed(chunk of that item, signal's name)`
    makes the result.
    """
    pool = _Pool(work, chunks, crashed)
    start = start_forked if workers and load and can_fork_after(load) else start_fresh
    try:
        for _ in range(workers):
            pool.add(start)
        yield pool.results()
        if not pool.busy():  # else the caller has had enough, and does not wait for what is left
            pool.dismiss()
    finally:
        pool.stop()


class _Pool:
    """The processes, and the chunks that wait for them."""

    def __init__(
        self,
        work: Callable[[Any], Any],
        chunks: Iterable[Any],
        crashed: Callable[[Any, str], Any] | None,
    ) -> None:
        self._work, self._source, self._crashed = work, iter(chunks), crashed
        self._again: deque[_Task] = deque()
        self._workers: list[_Worker] = []
        self._answers = self._crashes = 0

    def add(
        self, start: Callable[[Callable[[Any], Any]], tuple[BaseProcess, Connection]]
    ) -> _Worker:
        """Start one more process; PipelineError where the system has no room for it."""
        try:
            self._workers.append(_Worker(*start(self._work)))
        except OSError as error:
            raise PipelineError(
                f"the worker process number {len(self._workers) + 1} cannot be started: "
                f"{error.strerror}",
                "try again with fewer --workers",
            ) from error
        return self._workers[-1]

    def results(self) -> Iterator[Any]:
        """Yield every answer as it comes."""
        self.feed()
        while busy := self.busy():
            for ready in wait(list(busy)):
                yield from self.take(busy[ready])  # type: ignore[index]
                self.feed()

    def busy(self) -> dict[Connection, _Worker]:
        return {worker.connection: worker for worker in self._workers if worker.under_way}

    def feed(self) -> None:
        """Let every process have something to do, and something to do next."""
        for depth in range(AHEAD):  # the last ones are shared by all
            for worker in self._workers:
                if len(worker.under_way) <= depth and (task := self._next()):
                    _send(worker, task)

    def take(self, worker: _Worker) -> Iterator[Any]:
        """Yield what there is of a worker: an answer, or what takes its place after a crash."""
        try:
            result, error = worker.connection.recv()
        except (EOFError, ConnectionError):
            yield from self._bury(worker)
            return
        worker.under_way.popleft()
        if error is not None:
            raise error
        self._answers += 1
        yield result

    def dismiss(self) -> None:
        """Let all processes leave."""
        for worker in self._workers:
            worker.connection.close()  # the worker's cue
            worker.process.join(STOP_S)

    def stop(self) -> None:
        """End all processes at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(STOP_S)
            worker.connection.close()

    def _next(self) -> _Task | None:
        if self._again:
            return self._again.popleft()
        for chunk in self._source:
            return _Task(chunk)
        return None

    def _bury(self, worker: _Worker) -> Iterator[Any]:
        """Put a fresh process in the place of one that crashed; raise where another end was it."""
        worker.process.join(STOP_S)
        code = worker.process.exitcode or 0
        if self._crashed is None or -code not in CRASHES:
            raise _death(worker)
        self._workers.remove(worker)
        worker.connection.close()
        suspect, *others = worker.under_way
        self._again.extend(others)
        fresh = self.add(start_fresh)
        if len(suspect.chunk) > 1:
            singles = [suspect.chunk[at : at + 1] for at in range(len(suspect.chunk))]
            self._again.extendleft(_Task(single) for single in reversed(singles))
        elif suspect.alone or -code == signal.SIGPROF:
            self._crashes += 1
            if self._crashes >= MOST_CRASHES and not self._answers:
                raise _death(worker)
            yield self._crashed(suspect.chunk, signal.Signals(-code).name)
        else:
            # What came before it may have left the process damaged.
            _send(fresh, _Task(suspect.chunk, alone=True))


def _send(worker: _Worker, task: _Task) -> None:
    worker.under_way.append(task)
    # Where the process has died, waiting for its answer tells.
    with contextlib.suppress(ConnectionError):
        worker.connection.send(task.chunk)


def _death(worker: _Worker) -> PipelineError:
    code = worker.process.exitcode
    number = worker.process.pid
    if code is None:
        return PipelineError(f"worker process {number} does not answer", "try again")
    if code >= 0:
        how = f"ended by itself with code {code}"
    else:
        try:
            how = f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"was killed by signal {-code}"
    if -code in CRASHES:
        hint = "its libraries may not fit this machine: make the environment anew"
    else:
        hint = "often the memory is too small: try again with fewer --workers"
    return PipelineError(f"worker process {number} {how}", hint)
