"""Work cut into shares, one forked process each.

A process has its share from the start and leaves when it is done, so that none stays behind
whatever happens to the one that started it.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from pipeline.errors import PipelineError

T = TypeVar("T")

_RESULT, _ERROR, _END = range(3)


def can_fork() -> bool:
    """Say whether this system can fork a process that has threads and libraries loaded."""
    # macOS has fork, and its own libraries do not survive it.
    return multiprocessing.get_start_method(allow_none=False) == "fork"


def run(work: Callable[[int, int], Iterable[T]], bounds: Sequence[int]) -> Iterator[T]:
    """Yield what `work(start, stop)` yields for all neighbours in `bounds`, as it comes.

    Results cross process borders by pickle; `work` does not. An error is raised once every share
    has ended; of several, that of the first share.
    """
    with _started(work, bounds) as open_shares:
        yield from _results(open_shares)


@contextlib.contextmanager
def ahead(function: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Let a process work on `function()` while the block does other things.

    Yields a function that waits for the result and returns it, or raises the error it ended with.
    A process whose result nobody asked for is ended with the block.
    """
    with _started(lambda _start, _stop: [function()], [0, 1]) as open_shares:
        yield lambda: next(_results(open_shares))


def _results(open_shares: dict[Connection, int]) -> Iterator[Any]:
    failures: dict[int, BaseException] = {}
    while open_shares:
        for receiver in wait(list(open_shares)):
            assert isinstance(receiver, Connection)
            try:
                kind, value = receiver.recv()
            except EOFError:
                lost = PipelineError("a worker process was killed", "is there enough memory?")
                kind, value = _ERROR, (lost, "")
            if kind == _RESULT:
                yield value
                continue
            number = open_shares.pop(receiver)
            if kind == _ERROR:
                failures[number], trace = value
                failures[number].add_note(trace)
    if failures:
        raise failures[min(failures)]


@contextlib.contextmanager
def _started(
    work: Callable[[int, int], Iterable[Any]], bounds: Sequence[int]
) -> Iterator[dict[Connection, int]]:
    """Start the processes and yield {connection: number of the share}; end them afterwards."""
    context = multiprocessing.get_context("fork")
    processes = []
    shares: dict[Connection, int] = {}
    try:
        for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(work, start, stop, sender), daemon=True)
            process.start()
            sender.close()
            processes.append(process)
            shares[receiver] = number
        yield shares
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _serve(
    work: Callable[[int, int], Iterable[Any]], start: int, stop: int, sender: Connection
) -> None:
    # Ctrl-C reaches all processes; the one that started this one says so, once, and ends it by
    # SIGTERM, to which it has no clean-up of its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(BrokenPipeError):  # nobody is there any more
        try:
            for result in work(start, stop):
                sender.send((_RESULT, result))
            sender.send((_END, None))
        except BrokenPipeError:
            raise
        except Exception as error:
            sender.send((_ERROR, (error, traceback.format_exc())))
