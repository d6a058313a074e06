"""Progress of long work, on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.errors import one_line

HEARTBEAT_S = 10.0

_silent = False


def silence() -> None:
    """Show no progress from here on (`--quiet`)."""
    global _silent
    _silent = True


def note(text: str) -> None:
    """Write one line about the work to stderr, unless silenced."""
    if not _silent:
        print(one_line(text), file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def track(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of items done so far, out of `total`.

    It may be called as often as one likes, from one thread, and never inside a timed region.
    `NO_COLOR` is honoured.
    """
    if _silent:
        yield lambda done: None
    elif sys.stderr.isatty():
        with _bar(title, total, unit) as update:
            yield update
    else:
        yield _heartbeat(title, total, unit)


@contextmanager
def _bar(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    # Imported here: rich takes longer to load than some stages take to run.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, rate="")

        def update(done: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            bar.update(task, completed=done, rate=f"{rate:.1f} {unit}/s")

        yield update


def _heartbeat(title: str, total: int, unit: str) -> Callable[[int], None]:
    started = last = time.monotonic()

    def update(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= HEARTBEAT_S and done < total:
            last = now
            rate = done / (now - started)
            left = f", {(total - done) / rate:.0f} s left" if rate > 0 else ""
            note(f"{title}: {done} of {total} {unit}, {rate:.1f}/s{left}")

    return update
