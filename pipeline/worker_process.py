"""A process of the pool: how it is started, fresh or forked, and what it does until it ends."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline import shares

# Each library would otherwise start as many threads per process as the machine has cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_FIRST_FILE = 3  # after stdin, stdout and stderr
_PR_SET_PDEATHSIG = 1

Identity = tuple[int, int]  # of an open file: device, inode


def start_fresh(work: Callable[[Any], Any]) -> tuple[BaseProcess, Connection]:
    """Start a process that has nothing of this one; return it and the way to it.

    Raises OSError where the system has no room for it.
    """
    with children_inherit():
        return _start(multiprocessing.get_context("spawn"), work)


def start_forked(work: Callable[[Any], Any]) -> tuple[BaseProcess, Connection]:
    """Start a process that has loaded what this one has; otherwise as `start_fresh`.

    It lets go of all else that it would inherit: open files with their locks, the pipes of other
    processes, the handlers of signals.
    """
    inherited = _open_files()
    with _one_thread(), _deaf():
        return _start(multiprocessing.get_context("fork"), work, inherited)


def can_fork_after(load: Callable[[], object]) -> bool:
    """Load what the work needs, for processes that are forked from this one; say whether they can.

    What a thread holds at that moment, a forked process would find held for ever. So nothing is
    loaded and none can where this process has several threads, and none can where loading has
    started some. Nor is anything loaded where the memory of a process is bounded (ulimit): some
    libraries end the process that has too little for them, which then is better not this one.
    """
    if not shares.can_fork() or _threads() != 1 or _is_bounded():
        return False
    with _one_thread():
        load()
    return _threads() == 1


@contextlib.contextmanager
def children_inherit() -> Iterator[None]:
    """Let a process that the block starts have one thread per library, and be deaf to Ctrl-C.

    A terminal sends Ctrl-C to all of them. With SIGINT blocked it reaches this process alone, which
    ends the others.
    """
    # The tracker has to run before that: starting it would lift the block again.
    resource_tracker.ensure_running()
    with _one_thread(), _deaf():
        yield


def leave_if_orphaned() -> None:
    """End this process at once if its parent is gone; for the work to call between two items."""
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = dict(os.environ)
    try:
        os.environ.update(ONE_THREAD)
        yield
    finally:
        for name in ONE_THREAD:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start(
    context: multiprocessing.context.BaseContext,
    work: Callable[[Any], Any],
    inherited: Mapping[int, Identity] | None = None,
) -> tuple[BaseProcess, Connection]:
    here, there = context.Pipe()
    if inherited is not None:
        inherited = {**inherited, here.fileno(): _identity(here.fileno())}
    # `context.Process` is there in each context that `get_context` returns, if not in their base.
    process = context.Process(  # type: ignore[attr-defined]
        target=_serve, args=(there, work, inherited), daemon=True
    )
    process.start()
    there.close()
    return process, here


def _threads() -> int:
    """Return how many threads this process has, those of libraries included. Source: proc(5)."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208
    except OSError:
        return 0  # not known


def _is_bounded() -> bool:
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits)


def _open_files() -> dict[int, Identity]:
    """Return all open files beyond stderr by their numbers. Source: proc(5)."""
    found = {}
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        if number >= _FIRST_FILE:
            with contextlib.suppress(OSError):  # the listing's own is closed again
                found[number] = _identity(number)
    return found


def _identity(number: int) -> Identity:
    status = os.fstat(number)
    return status.st_dev, status.st_ino


def _serve(
    connection: Connection,
    work: Callable[[Any], Any],
    inherited: Mapping[int, Identity] | None,
) -> None:
    """Answer chunks until the parent closes its end or is gone."""
    _end_with_parent()
    if inherited is not None:
        _let_go(inherited)
    # A crash is told by the parent; the memory of this process need not fill the user's folder.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _silence()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            chunk = connection.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = (work(chunk), None)
            except Exception as error:
                answer = (None, error)
            connection.send(answer)


def _let_go(inherited: Mapping[int, Identity]) -> None:
    """Be as a fresh process is, after a fork.

    The numbers of the files stay taken: an object of the parent's that closes its own late closes
    nothing else then. Between the listing and the fork the parent may have closed one, as when it
    collects garbage, and its number may be that of a pipe of this process by now.
    """
    gc.freeze()  # the parent's objects are never looked at, so that their memory stays shared
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number, identity in inherited.items():
        with contextlib.suppress(OSError):
            if number != null and _identity(number) == identity:
                os.dup2(null, number, inheritable=False)
    os.close(null)
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signal_number) is not signal.SIG_IGN:
            signal.signal(signal_number, signal.SIG_DFL)


def _silence() -> None:
    """Let nothing that this process prints be seen: libraries complain of damaged files so."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)


def _end_with_parent() -> None:
    """Have the kernel kill this process as soon as its parent has ended. Source: prctl(2)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    leave_if_orphaned()
