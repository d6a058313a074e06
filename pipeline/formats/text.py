"""Text files from outside: read no further than their kind goes, and quoted in a few words."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import PipelineError

MOST_BYTES = 64 << 20  # a million lines of 64 bytes; ImageNet has 1.3 million pictures in all
_AT_ONCE = 1 << 20
_MOST_SHOWN = 40


def read(path: Path, hint: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of the file at `path`, of at most `most` bytes.

    PipelineError with `hint` where there are more, as in a device that never ends, or where the
    file cannot be read.
    """
    parts, size = [], 0
    try:
        with path.open("rb", buffering=0) as file:
            while size <= most and (part := file.read(_AT_ONCE)):
                parts.append(part)
                size += len(part)
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}", hint) from error
    if size > most:
        raise PipelineError(f"{path} has more than {most >> 20} MiB", hint)
    return b"".join(parts)


def shown(word: str) -> str:
    """Return a word from a file in quotes, cut where it is long."""
    return repr(word) if len(word) <= _MOST_SHOWN else f"{word[:_MOST_SHOWN]!r}..."
