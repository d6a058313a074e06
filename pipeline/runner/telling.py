"""What a run that ended early, or went on, says of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.engines import DeviceLost
from pipeline.errors import PipelineError


def with_count(
    error: PipelineError | OSError | KeyboardInterrupt, folder: Path, dumped: int, total: int
) -> BaseException:
    """Return the same error, saying how far the run came."""
    far = f"{dumped} of {total} samples are dumped"
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(far)
    if not folder.is_dir():
        return PipelineError(f"{folder} was removed during the run", "run the same command again")
    if isinstance(error, DeviceLost):
        hint = f"{error.hint}; the same command goes on with what is missing"
        return PipelineError(f"{error.what} ({far})", hint)
    if isinstance(error, PipelineError):
        return PipelineError(f"{error.what} ({far})", error.hint)
    if not error.strerror:
        return error
    return OSError(error.errno, f"{error.strerror} ({far})", error.filename)


def stems_of(numbers: Sequence[int], stems: Sequence[str], batch_size: int) -> list[str]:
    """Return the samples of some batches."""
    starts = [number * batch_size for number in numbers]
    return [stem for start in starts for stem in stems[start : start + batch_size]]


def tally(samples: int, kept: int) -> str:
    """Return how many samples there are and, where it is not all, how many were timed."""
    whence = f" ({kept} kept from an interrupted run, {samples - kept} timed)" if kept else ""
    return f"{samples} of {samples} samples{whence}"
