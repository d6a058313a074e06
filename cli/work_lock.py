"""The lock of a work folder, for run_all.sh: `python3 -I work_lock.py FILE DESCRIPTOR PROCESS`.

The shell has opened FILE as DESCRIPTOR, and its children inherit it: the lock that is taken here
with flock(2) is held until the last of them has ended. PROCESS, the number of the shell, goes into
the file. This stands alone, because it runs before anything is known to be there. It ends with

0  held, or the file system knows no locks
3  FILE is no longer the file that was opened: open it again
4  somebody else holds it; the number of a process that does is on stdout, where it can be told
5  FILE cannot be locked, or holds what no run has written; stdout says so
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

HELD, AGAIN, TAKEN, UNFIT = 0, 3, 4, 5
_UNKNOWN_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def take(path: str, descriptor: int, process: int) -> tuple[int, str]:
    """Return the exit code and what goes to stdout."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return TAKEN, _holder(descriptor, {process, os.getpid(), os.getppid()})
    except OSError as error:
        if error.errno not in _UNKNOWN_HERE:
            return UNFIT, f"cannot be locked: {error.strerror}"
    status = os.fstat(descriptor)
    try:
        if not os.path.samestat(status, os.lstat(path)):
            return AGAIN, ""
    except FileNotFoundError:
        return AGAIN, ""
    written = os.pread(descriptor, 64, 0)
    if status.st_nlink != 1 or not re.fullmatch(rb"[0-9]{0,20}\n?", written):
        return UNFIT, "is no lock; move it, or give another --work-dir"
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % process, 0)
    except OSError:
        pass  # the number is for a message only; on a full disk the lock holds without it
    return HELD, ""


def _holder(descriptor: int, asking: set[int]) -> str:
    """Return the number of a living process that has the file open, or an empty string.

    It is the one in the file, unless that one has ended and left a child at work.
    """
    number = os.pread(descriptor, 20, 0).strip()
    named = int(number) if number.isdigit() else 0
    if not Path("/proc/self/fd").is_dir():
        return str(named) if named and _lives(named) else ""
    holders = set(_processes_with(os.fstat(descriptor))) - asking
    if named in holders:
        return str(named)
    return str(min(holders)) if holders else ""


def _processes_with(wanted: os.stat_result) -> Iterator[int]:
    for process in os.scandir("/proc"):
        if not process.name.isdigit():
            continue
        try:
            if any(os.path.samestat(f.stat(), wanted) for f in os.scandir(f"{process.path}/fd")):
                yield int(process.name)
        except OSError:
            continue  # it has ended, or is somebody else's


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the shell says it
    code, said = take(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(said)  # noqa: T201
    sys.exit(code)
