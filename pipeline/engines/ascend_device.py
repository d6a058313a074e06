"""What runs in the process of one device: the session of ais_bench, and its answers to the parent.

A process for each device, because the binding under ais_bench holds Python's interpreter lock while
a batch is on the device: in one process devices would take turns, and nobody could read or write
meanwhile. What the libraries print goes to a file of the parent's, which shows it if they fail.

Interfaces, both generations (2023 and 2025) of `ais_bench.infer.interface`: `InferSession(device,
path)`, `get_inputs()`, `get_outputs()`, `infer(list of arrays)`; then `sumary()` with
`reset_sumaryinfo()` and times in ms, or `summary()` with `reset_summaryinfo()` and pairs of start
and end, in ms.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import math
import mmap
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_MOST_TIMES = 256  # that a session keeps: each time that it is asked, it copies all of them
PACKAGES = ("ais_bench", "aclruntime")
# CANN's logs go to the screen where this is 1, and then somebody wants to see them.
_LOG_TO_SCREEN = "ASCEND_SLOG_PRINT_TO_STDOUT"


@dataclass(frozen=True)
class Tensor:
    """An input or output as the interface describes it; `dtype` is ACL's number, sizes in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: int
    size: int


@dataclass(frozen=True)
class Opened:
    """The model is on the device."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    versions: tuple[str, ...]


@dataclass(frozen=True)
class Feed:
    """One batch to run; it lies at `place` of the shared memory."""

    place: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Answer:
    """The outputs of a batch, when the call began and ended, and how long the device executed.

    Times are `time.perf_counter_ns`, which on Linux is one clock for all processes.
    """

    outputs: list[NDArray[Any]]
    started: int
    ended: int
    executed_ns: int


@dataclass(frozen=True)
class Failure:
    """The library's own error."""

    text: str
    is_import: bool = False


class Handed:
    """A file descriptor that a process gets when it is started."""

    def __init__(self, file: int) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        return _take, (reduction.DupFd(self.file),)


def _take(duplicate: Any) -> Handed:
    return Handed(duplicate.detach())


def serve(
    connections: Sequence[Connection], memory: Handed, log: Handed, device: int, model: str
) -> None:
    """Open `model` on `device`, say so on the first connection, then answer feeds on all of them.

    Returns when the parent has closed its ends, or is gone.
    """
    _redirect(log.file)
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            session = _Session(device, model)
        except ImportError as error:
            connections[0].send(Failure(_text(error), is_import=True))
            return
        except (Exception, SystemExit) as error:
            connections[0].send(Failure(_text(error)))
            return
        connections[0].send(session.opened())
        shared = _Shared(memory.file)
        try:
            while True:
                for ready in cast("list[Connection]", wait(connections)):
                    ready.send(session.answer(shared.array(ready.recv())))
        finally:
            session.close()


class _Session:
    """An `InferSession`, whatever its generation."""

    def __init__(self, device: int, model: str) -> None:
        interface = importlib.import_module("ais_bench.infer.interface")
        self._session = interface.InferSession(device, model)
        # Only one spelling of each is there.
        self._times = _first(self._session, "summary", "sumary")
        self._forget = _first(self._session, "reset_summaryinfo", "reset_sumaryinfo")
        self._seen = 0

    def opened(self) -> Opened:
        """Describe the model."""
        return Opened(
            tuple(map(_tensor, self._session.get_inputs())),
            tuple(map(_tensor, self._session.get_outputs())),
            tuple(map(_version, PACKAGES)),
        )

    def answer(self, batch: NDArray[Any]) -> Answer | Failure:
        """Run one batch."""
        started = time.perf_counter_ns()
        try:
            outputs = self._session.infer([batch])
            ended = time.perf_counter_ns()
            executed_ns = self._executed_ns(ended - started)
        except (Exception, SystemExit) as error:
            return Failure(_text(error))
        return Answer(list(map(np.ascontiguousarray, outputs)), started, ended, executed_ns)

    def _executed_ns(self, call_ns: int) -> int:
        times = self._times().exec_time_list
        found = executed_ns(times[self._seen :], call_ns)
        self._seen = len(times)
        if self._seen >= _MOST_TIMES:
            self._forget()
            self._seen = 0
        return found

    def close(self) -> None:
        """Unload the model and leave the device, as far as this generation can be told to."""
        for name in ("free_resource", "finalize"):
            if ending := getattr(self._session, name, None):
                ending()


class _Shared:
    """The parent's memory, mapped part by part as batches in it turn up."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._parts: dict[int, mmap.mmap] = {}

    def array(self, feed: Feed) -> NDArray[Any]:
        """Return the batch of `feed`, where the parent has it."""
        dtype = np.dtype(feed.dtype)
        if feed.place not in self._parts:
            size = math.prod(feed.shape) * dtype.itemsize
            self._parts[feed.place] = mmap.mmap(self._file, size, offset=feed.place)
        return np.frombuffer(self._parts[feed.place], dtype).reshape(feed.shape)


def executed_ns(times: Sequence[Any], call_ns: int) -> int:
    """Return how long the device executed, of a call that took `call_ns`; all of it if unknown.

    `times` has one entry per execution: ms, or start and end in ms. They are of the wall clock and,
    as floats of 32 bits, may be too coarse to be told apart: a time that cannot be is none.
    """
    spans = [np.ravel(entry) for entry in times]
    found_ms = sum(float(span[-1] - span[0]) if len(span) > 1 else float(span[0]) for span in spans)
    found = round(found_ms * 1e6) if math.isfinite(found_ms) else 0
    # assumed: the pair's ends are of one clock; what the clock is, does not matter.
    return found if 0 < found <= call_ns else call_ns


def _tensor(desc: Any) -> Tensor:
    shape = tuple(map(int, desc.shape))
    return Tensor(str(desc.name), shape, int(desc.datatype), int(desc.realsize))


def _first(owner: Any, *names: str) -> Any:
    for name in names:
        if found := getattr(owner, name, None):
            return found
    raise AttributeError(f"InferSession has neither {' nor '.join(names)}")


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _redirect(log: int) -> None:
    """Let what the libraries print go to `log`, or to stderr where CANN's logs are to be seen."""
    if os.environ.get(_LOG_TO_SCREEN) == "1":
        os.dup2(2, 1)
    else:
        os.dup2(log, 1)
        os.dup2(log, 2)
