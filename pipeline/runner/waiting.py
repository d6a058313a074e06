"""Work in threads, so that Ctrl-C need not wait for the engine's call to return."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

POLL_S = 0.1
_CANCEL_S = 0.01
_GIVE_UP_S = 0.8  # an engine may be deaf; after this its thread is left to itself

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
    results: list[Result] = []
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again below, in the caller's thread
            errors.append(error)

    thread = Thread(guarded, "call")
    try:
        thread.start()
        while not thread.wait(POLL_S):
            pass
    except BaseException:
        join_all([thread], cancel)
        raise
    if errors:
        raise errors[0]
    return results[0]


def join_all(threads: Sequence[Thread], cancel: Callable[[], None]) -> None:
    """Wait a short while for threads that are to end; `cancel` ends the engine's running calls.

    It is called again and again: one that finds no call running has no effect on the next one.
    """
    deadline = time.monotonic() + _GIVE_UP_S
    cancel()
    while not all(thread.wait(0) for thread in threads) and time.monotonic() < deadline:
        # A second Ctrl-C does not make it any faster.
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(_CANCEL_S)
            cancel()
