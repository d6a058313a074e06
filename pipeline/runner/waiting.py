"""Work in threads, so that Ctrl-C need not wait for the engine's call to return."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

POLL_S = 0.1
_CANCEL_S = 0.01
_GIVE_UP_S = 0.5  # an engine may be deaf; after this its thread is left to itself
_FAILED, _INTERRUPTED = 1, 130  # exit codes, as in cli.door

Result = TypeVar("Result")


class Thread:
    """A daemon thread whose end can be waited for after an interrupt, too.

    Python 3.11's own takes a thread for ended once a KeyboardInterrupt has come up in its `join`.
    A process that then leaves while an engine's call is running is aborted by the C++ runtime.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin the work, which handles its own exceptions."""
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the work, at most so long; say whether it has ended or not begun."""
        return self._thread.ident is None or self._ended.wait(timeout_s)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()


def call(work: Callable[[], Result], cancel: Callable[[], None]) -> Result:
    """Return `work()`, called in a thread; an interrupt calls `cancel` and is raised again."""
    return call_all([work], cancel)[0]


def call_all(works: Sequence[Callable[[], Result]], cancel: Callable[[], None]) -> list[Result]:
    """Return what all of `works` return, called at the same time, each in a thread.

    An interrupt calls `cancel` and is raised again, and so is the first error, once all have ended.
    """
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    def guarded(place: int) -> None:
        try:
            results[place] = works[place]()
        except BaseException as error:  # raised again below, in the caller's thread
            errors.append(error)

    threads = [Thread(functools.partial(guarded, place), "call") for place in range(len(works))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while not thread.wait(POLL_S):
                pass
    except BaseException as error:
        join_all(threads, cancel, error)
        raise
    if errors:
        raise errors[0]
    return [results[place] for place in range(len(works))]


def join_all(threads: Sequence[Thread], cancel: Callable[[], None], because: BaseException) -> None:
    """Wait a short while for threads that are to end; `cancel` ends the engine's running calls.

    It is called again and again: one that finds no call running has no effect on the next one.
    What still runs when the process ends, on account of the error `because`, ends with it.
    """
    deadline = time.monotonic() + _GIVE_UP_S
    cancel()
    while not all(thread.wait(0) for thread in threads) and time.monotonic() < deadline:
        # A second Ctrl-C does not make it any faster.
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(_CANCEL_S)
            cancel()
    if left := [thread for thread in threads if not thread.wait(0)]:
        code = _INTERRUPTED if isinstance(because, KeyboardInterrupt) else _FAILED
        atexit.register(_leave_behind, left, code)


def _leave_behind(threads: Sequence[Thread], code: int) -> None:
    """End the process at once if one of `threads` still runs.

    One that comes back from its library while the interpreter is being taken down makes the C++
    runtime abort the process.
    """
    if not all(thread.wait(0) for thread in threads):
        os._exit(code)
