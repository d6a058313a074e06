"""What a process of the preprocessing does: images to whole `.bin` files, one after the other.

Nothing is written under an output's own name, and nothing through a link that lies in its place or
in that of the temporary file.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import worker_process
from pipeline.errors import PipelineError

UNFINISHED = (".preprocess-", ".partial")  # around the number of the process
MOST_PROCESSOR_S = 120.0  # for an image: the largest ones allowed take a few seconds

Status = list[int]  # of a file: bytes, time of its last change in ns since 1970
Chunk = list[tuple[str, str]]  # image, name of its output


@dataclass(frozen=True)
class Answer:
    """What has become of the images of a chunk, by the names of their outputs.

    `made` has the status of the image, from before it was read, and that of the output; `refused`
    has the reason.
    """

    made: list[tuple[str, Status, Status]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def status_of(status: os.stat_result) -> Status:
    """Return what changes when somebody writes to the file."""
    return [status.st_size, status.st_mtime_ns]


def load() -> None:
    """Import what decodes and transforms pictures."""
    from pipeline.imagenet import transform  # noqa: F401


def prepare_chunk(target: str, dtype: str, chunk: Chunk) -> Answer:
    """Prepare the images of one chunk into the folder `target`.

    An image that cannot be read or decoded is refused, and an output that an earlier run made of
    the like is removed. Raises OSError where an output cannot be written.
    """
    from pipeline.imagenet import decode, transform

    make = transform.prepare if dtype == "float32" else transform.prepare_pixels
    unfinished = os.path.join(target, str(os.getpid()).join(UNFINISHED))  # noqa: PTH118
    answer = Answer()
    for image, name in chunk:
        worker_process.leave_if_orphaned()
        output = os.path.join(target, name)  # noqa: PTH118
        signal.setitimer(signal.ITIMER_PROF, MOST_PROCESSOR_S)
        try:
            data, status = decode.read_with_status(Path(image))
            values = make(Path(image), data=data)
        except PipelineError as error:
            answer.refused.append((name, error.what.removeprefix(f"{image} ")))
            Path(output).unlink(missing_ok=True)
            continue
        made = _write(unfinished, output, values.data.cast("B"))
        answer.made.append((name, status_of(status), made))
    signal.setitimer(signal.ITIMER_PROF, 0)
    return answer


def give_up(target: str, chunk: Chunk, signal_name: str) -> Answer:
    """Refuse the images of a chunk whose decoding ends the process with that signal."""
    reason = f"cannot be decoded (the decoder crashed: {signal_name})"
    if signal_name == "SIGPROF":
        reason = f"cannot be decoded (it took more than {MOST_PROCESSOR_S:.0f} s)"
    for _, name in chunk:
        Path(target, name).unlink(missing_ok=True)
    return Answer(refused=[(name, reason) for _, name in chunk])


def leftovers(target: Path) -> list[str]:
    """Return the names of the temporary files that killed processes have left in `target`."""
    start, end = UNFINISHED
    with os.scandir(target) as entries:
        names = [entry.name for entry in entries]
    return [name for name in names if name.startswith(start) and name.endswith(end)]


def _write(unfinished: str, output: str, data: memoryview) -> Status:
    """Write `data` and give it its name. Plain calls: there may be 50,000 of these files."""
    try:
        handle = _create(unfinished)
        try:
            while data:
                data = data[os.write(handle, data) :]
        finally:
            os.close(handle)
        # By name: a network file system settles the time when a file is closed.
        status = os.lstat(unfinished)
        worker_process.leave_if_orphaned()  # else another run may be at work on this folder
        os.replace(unfinished, output)  # noqa: PTH105
    except OSError as error:
        raise OSError(error.errno, error.strerror, output) from error
    return status_of(status)


def _create(unfinished: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(unfinished, flags, 0o666)
    except FileExistsError:  # left by a process of the same number, or put there
        os.unlink(unfinished)  # noqa: PTH108
        return os.open(unfinished, flags, 0o666)
