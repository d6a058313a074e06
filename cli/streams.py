"""stdout and stderr that take whatever there is to say, also closed, full or without a reader."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TextIO


def print_line(line: str, stream: TextIO) -> None:
    """Print `line` to `stream` at once; an OSError names the stream."""
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        error.filename = "the output" if stream is sys.stdout else "the messages"
        raise


def a_reader_left() -> bool:
    """Say whether what broke is stdout or stderr, and not some pipe between processes."""
    watched = select.poll()
    for number in (1, 2):
        watched.register(number, 0)
    return any(state & select.POLLERR for _, state in watched.poll(0))


def mend() -> None:
    """Make every stream one that takes whatever there is to say.

    A closed one (`>&-`) is replaced by the null device: else the next file that is opened would
    get its number, and whatever a library prints would go into that file. What a stream cannot
    encode it shows escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given out first, and this is the lowest.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def empty() -> None:
    """Point a stream that takes no more at nothing, or the interpreter complains of it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
