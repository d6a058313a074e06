"""Progress of long work, on stderr: steps and a bar on a terminal, else a line every ten seconds.

Who works tells; how much of it is shown was chosen at the front door: nothing with `--quiet`, the
details as well with `-v`. `NO_COLOR` (no-color.org) is honoured, and so is a terminal that cannot
draw (`TERM=dumb`). In a timed region this process draws and prints nothing: see `track_timed`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.errors import one_line

HEARTBEAT_S = 10.0
LEAST_SHOWN_S = 2.0  # a timed region that is shorter needs no bar

_silent = False
_detailed = False
_last_line_s = time.monotonic()

Update = Callable[[int], None]


def set_level(*, quiet: bool = False, verbose: bool = False) -> None:
    """Show nothing from here on, or everything, or what is usual; errors are told in any case."""
    global _silent, _detailed
    _silent, _detailed = quiet, verbose


def silence() -> None:
    """Show no progress from here on (`--quiet`)."""
    set_level(quiet=True)


def note(text: str) -> None:
    """Write one line about the work to stderr, unless silenced."""
    global _last_line_s
    if not _silent:
        _last_line_s = time.monotonic()
        print(one_line(text), file=sys.stderr, flush=True)  # noqa: T201


def detail(text: str) -> None:
    """Write one line to stderr where details are asked for (`-v`)."""
    if _detailed:
        note(f"  {text}")


def details(title: str, facts: Mapping[str, Any]) -> None:
    """Write `title` and the facts in one line to stderr where details are asked for (`-v`)."""
    if facts:
        detail(f"{title}: {', '.join(f'{key} {value}' for key, value in facts.items())}")


@contextmanager
def steps(*titles: str) -> Iterator[None]:
    """Let the block, or the function that this decorates, have numbered steps; begin the first.

    On a terminal each is told as it begins, as in `[2/4] load the model`; elsewhere where nothing
    was told for ten seconds, so that short work is silent. With `-v` all are, and what they took.
    """
    global _steps, _last_line_s
    before, _steps, _last_line_s = _steps, _Steps(titles), time.monotonic()
    _steps.begin()
    try:
        yield
    finally:
        _steps.end()
        _steps = before


def next_step() -> None:
    """Begin the next step; where all have begun, the last one goes on."""
    if _steps:
        _steps.begin()


class _Steps:
    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = titles
        self._number = 0
        self._started_s = 0.0

    @property
    def label(self) -> str:
        return f"[{self._number}/{len(self._titles)}] "

    def begin(self) -> None:
        if self._number == len(self._titles):
            return
        self.end()
        self._number += 1
        self._started_s = time.monotonic()
        if _detailed or _is_terminal() or self._started_s - _last_line_s >= HEARTBEAT_S:
            note(f"{self.label}{self._titles[self._number - 1]}")

    def end(self) -> None:
        if self._number:
            detail(f"took {time.monotonic() - self._started_s:.2f} s")


_steps: _Steps | None = None  # of the work that runs


def _titled(title: str) -> str:
    return f"{_steps.label if _steps else ''}{title}"


@contextmanager
def track(title: str, total: int, unit: str) -> Iterator[Update]:
    """Yield a function that takes the number of items done so far, out of `total`.

    It may be called as often as one likes, from one thread, and never inside a timed region.
    """
    if _silent:
        yield lambda done: None
    elif can_draw():
        with bar(_titled(title), total, unit) as update:
            yield update
    else:
        yield heartbeat(_titled(title), total, unit)


@contextmanager
def track_timed(title: str, total: int, unit: str, expected_s: float) -> Iterator[Update]:
    """Yield a function as `track` does, for a timed region that takes about `expected_s`.

    What is shown is drawn by a process of its own, which is ready before the region begins and runs
    only where a processor has nothing else to do. In this process the function is one write of a
    few bytes to a pipe, once a second. A region too short to show anything has no such process.
    """
    if _silent or expected_s < (LEAST_SHOWN_S if can_draw() else HEARTBEAT_S):
        yield lambda done: None
        return
    from pipeline import progress_aside

    with progress_aside.drawing(_titled(title), total, unit) as update:
        yield update


def can_draw() -> bool:
    """Say whether stderr is a terminal that can draw over what it shows."""
    return _is_terminal() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def _is_terminal() -> bool:
    return sys.stderr.isatty()


@contextmanager
def bar(title: str, total: int, unit: str, frames_per_s: float = 10) -> Iterator[Update]:
    """Yield as `track` does; show a bar with rate and time left, which goes away at the end."""
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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Results go to stdout as they are, whatever is drawn meanwhile.
    with Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        refresh_per_second=frames_per_s,
    ) as shown:
        task = shown.add_task(one_line(title), total=total, rate="")

        def update(done: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            shown.update(task, completed=done, rate=f"{rate:.1f} {unit}/s")

        yield update


def heartbeat(title: str, total: int, unit: str) -> Update:
    """Return a function as `track` yields it, which writes a line every ten seconds."""
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
