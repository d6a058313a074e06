"""Work in a thread, so that Ctrl-C need not wait for the engine's call to return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

POLL_S = 0.1
_GIVE_UP_S = 0.8  # an engine may be deaf; after this its thread is left to itself

Result = TypeVar("Result")


def call(work: Callable[[], Result], cancel: Callable[[], None]) -> Result:
    """Return `work()`, called in a thread; an interrupt calls `cancel` and is raised again."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=guarded, name="call", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_S)
    except BaseException:
        cancel()
        join_all([thread])
        raise
    if errors:
        raise errors[0]
    return results[0]


def join_all(threads: Sequence[threading.Thread]) -> None:
    """Wait a short while for threads that were told to end."""
    deadline = time.monotonic() + _GIVE_UP_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
