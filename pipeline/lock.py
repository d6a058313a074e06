"""One run at a time for each output: a lock that the kernel takes back when its holder dies.

The lock of `X` is the file `.X.lock` beside it, held with flock(2), with the holder's process
number in it. A file that a dead run left holds nobody up: whoever comes next takes it over and
removes it at the end. Where a file system knows no locks, there is none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PipelineError

_NUMBER_S, _AGAIN_S = 1.0, 0.01
_UNKNOWN_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def path_of(output: Path) -> Path:
    """Return where the lock of `output` lies."""
    place = output.resolve() if output.name in ("", "..") else output
    return place.with_name(f".{place.name}.lock")


@contextlib.contextmanager
def holding(output: Path) -> Iterator[None]:
    """Hold the lock of `output` while the block works.

    Raises PipelineError, with the process number, where another process holds it, and OSError
    where the folder of `output` cannot be written.
    """
    where = path_of(output)
    file = _take(where, output)
    try:
        yield
    finally:
        # Removed while it is held: whoever waits for this very file sees that it has no name.
        with contextlib.suppress(OSError):
            where.unlink()
        os.close(file)


def clear_away(output: Path) -> None:
    """Remove the lock that a dead run of `output` left, where no run is to come that would."""
    if path_of(output).is_file():
        with contextlib.suppress(PipelineError, OSError), holding(output):
            pass


def _take(where: Path, output: Path) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(where, flags, 0o666)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _held(file, output) from None
            except OSError as error:
                if error.errno not in _UNKNOWN_HERE:
                    error.filename = str(where)
                    raise
            if _is_still(file, where):
                os.ftruncate(file, 0)
                # The number is for a reader's message only; on a full disk the lock holds without.
                with contextlib.suppress(OSError):
                    os.pwrite(file, b"%d\n" % os.getpid(), 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its last holder has removed it since it was opened


def _is_still(file: int, where: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), where.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _held(file: int, output: Path) -> PipelineError:
    number = _number_in(file)
    deadline = time.monotonic() + _NUMBER_S
    while not number.isdigit() and time.monotonic() < deadline:
        time.sleep(_AGAIN_S)  # its holder has it since a moment ago, and is about to write
        number = _number_in(file)
    who = f"process {number}" if number.isdigit() else "another process"
    return PipelineError(
        f"{output} is being made by {who}",
        "wait for it, stop it, or name another output",
    )


def _number_in(file: int) -> str:
    return os.pread(file, 20, 0).decode("ascii", "replace").strip()
