"""Work for the processes of a pool to do in tests; a module that imports next to nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def double(chunk: list[int]) -> list[Any]:
    """Return each number twice; a negative one kills the process by that signal."""
    for number in chunk:
        if number < 0:
            os.kill(os.getpid(), -number)
    return [2 * number for number in chunk]


def double_unless_damaged(chunk: list[int]) -> list[Any]:
    """Crash at 7, but only in a process that has had 3 before, as a damaged heap would."""
    for number in chunk:
        if number == 3:
            os.environ["DAMAGED"] = "yes"
        if number == 7 and "DAMAGED" in os.environ:
            os.kill(os.getpid(), signal.SIGSEGV)
    return [2 * number for number in chunk]


def tell_and_sleep(folder: str) -> None:
    """Tell the number of this process, and be busy for longer than anybody waits."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(300)


def crashed(chunk: list[int], how: str) -> list[Any]:
    return [f"{number} {how}" for number in chunk]


def told(numbers: list[int]) -> list[Any]:
    """Return for each number what this process is; a negative one kills it by that signal."""
    double(numbers)
    told = {
        "process": os.getpid(),
        "command": Path("/proc/self/cmdline").read_text().split("\0"),
        "files": _files(),
        "ignored": [number for number in (1, 15) if signal.getsignal(number) is signal.SIG_IGN],
        "handled": [number for number in (1, 15) if callable(signal.getsignal(number))],
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "threads": os.environ["OMP_NUM_THREADS"],
        "loaded": "wave" in sys.modules,
    }
    return [json.dumps(told) for _ in numbers]


def load() -> None:
    """Import what `told` looks for."""
    import wave  # noqa: F401


def load_and_start_a_thread() -> None:
    """Be a library that has a thread of its own."""
    import threading

    load()
    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()


def _files() -> list[str]:
    """Return what each open file is; one that is gone is that of the listing."""
    places = list(Path("/proc/self/fd").iterdir())
    return sorted(str(place.readlink()) for place in places if place.is_symlink())
