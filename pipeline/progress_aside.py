"""The bar of a timed region, drawn by a process of its own that takes no time from what is timed.

The one that works writes how far it is to a pipe, once a second; the one that draws reads it. The
kernel runs the latter where a processor is idle (SCHED_IDLE, sched(7)), and it ends with the pipe.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import progress

TELL_S = 1.0
_FRAMES_PER_S = 2
_START_S = 3.0  # where it takes longer to be ready, the work does not wait for it
_END_S = 2.0
_PROJECT = Path(__file__).resolve().parent.parent


@contextmanager
def drawing(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of items done; a process of its own shows them.

    Where no process can be started nothing is shown: the work does not depend on it.
    """
    try:
        process = _start(title, total, unit)
    except OSError:
        yield lambda done: None
        return
    assert process.stdin is not None
    pipe = process.stdin.fileno()
    last = time.monotonic()

    def update(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TELL_S:
            last = now
            with contextlib.suppress(OSError):  # full, or nobody reads any more
                os.write(pipe, b"%d\n" % done)

    try:
        yield update
    finally:
        _end(process)


def _start(title: str, total: int, unit: str) -> subprocess.Popen[bytes]:
    """Start the process that draws, and wait a little until it is ready to."""
    call = "from pipeline import progress_aside; progress_aside.draw()"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", call, title, str(total), unit],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(_PROJECT)},
        start_new_session=True,  # Ctrl-C is for the work; this ends with it
    )
    assert process.stdin is not None and process.stdout is not None
    os.set_blocking(process.stdin.fileno(), False)
    select.select([process.stdout], [], [], _START_S)
    process.stdout.close()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def draw() -> None:
    """Show what stdin tells: the numbers of items done so far, one a line, until it ends."""
    title, total, unit = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with contextlib.suppress(OSError, AttributeError):  # no Linux, or not allowed
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.ExitStack() as stack:
        if progress.can_draw():
            update = stack.enter_context(progress.bar(title, total, unit, _FRAMES_PER_S))
        else:
            update = progress.heartbeat(title, total, unit)
        with contextlib.suppress(OSError):
            os.write(1, b"\n")
        for line in sys.stdin:
            update(int(line))
