"""Work spread over processes that start quickly, stop promptly and do not outlive their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from pipeline.errors import PipelineError

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

AHEAD = 2  # chunks per worker on their way, so that it never waits for the next one
STOP_S = 5.0  # for a worker to end before it is killed

# Each library would otherwise start as many threads per process as the machine has cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    under_way: int = 0


def run_chunks(
    work: Callable[[Chunk], Result], chunks: Iterable[Chunk], workers: int
) -> Iterator[Result]:
    """Yield `work(chunk)` for every chunk, as they get done, from `workers` fresh processes.

    `work` and the chunks cross by pickle; `work` belongs to a module that imports fast, since each
    process imports it anew. An exception in `work` is raised here, a process that dies raises
    PipelineError, and either way, as when the caller stops early, all processes are ended first.
    """
    source = iter(chunks)
    pool: list[_Worker] = []
    try:
        pool += _start(work, workers)
        for worker in pool:
            for _ in range(AHEAD):
                _feed(worker, source)
        while busy := {worker.connection: worker for worker in pool if worker.under_way}:
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                result = _receive(worker)
                _feed(worker, source)
                yield result
        for worker in pool:
            worker.connection.close()  # the worker's cue to leave
            worker.process.join(STOP_S)
    finally:
        _stop(pool)


def leave_if_orphaned() -> None:
    """End this process at once if its parent is gone; for the work to call between two items."""
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)


def _start(work: Callable[[Any], Any], workers: int) -> Iterator[_Worker]:
    # A new process inherits the environment and the signal mask. With SIGINT blocked, a Ctrl-C,
    # which a terminal sends to all of them, reaches this process alone, and it ends the others.
    # The tracker has to run before that: starting it would lift the block again.
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()
    before = dict(os.environ)
    os.environ.update(ONE_THREAD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, work), daemon=True)
            process.start()
            there.close()
            yield _Worker(process, here)
    finally:
        for name in ONE_THREAD:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """Answer chunks until the parent closes its end or is gone."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            chunk = connection.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = (work(chunk), None)
            except Exception as error:
                answer = (None, error)
            connection.send(answer)


def _feed(worker: _Worker, source: Iterator[Any]) -> None:
    for chunk in source:
        try:
            worker.connection.send(chunk)
        except ConnectionError:
            raise _death(worker) from None
        worker.under_way += 1
        return


def _receive(worker: _Worker) -> Any:
    try:
        result, error = worker.connection.recv()
    except (EOFError, ConnectionError):
        raise _death(worker) from None
    worker.under_way -= 1
    if error is not None:
        raise error
    return result


def _death(worker: _Worker) -> PipelineError:
    worker.process.join(STOP_S)
    code = worker.process.exitcode
    if code is not None and code < 0:
        try:
            how = f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"was killed by signal {-code}"
    else:
        how = f"ended by itself with code {code}"
    return PipelineError(
        f"a worker process {how}",
        "often the memory is too small: try again with fewer --workers",
    )


def _stop(pool: list[_Worker]) -> None:
    for worker in pool:
        worker.process.terminate()
    for worker in pool:
        worker.process.join(STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()
