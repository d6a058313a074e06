"""The processes of devices, as their parent sees them, and the memory that all of them share."""

from __future__ import annotations

import contextlib
import math
import mmap
import multiprocessing
import os
import re
import signal
import tempfile
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import worker_process
from pipeline.engines import ascend_device
from pipeline.engines.ascend_device import Answer, Failure, Feed, Handed, Opened

STOP_S = 5.0  # for a device to unload its model before its process is killed
_LOG_BYTES = 4096
_ERROR = re.compile(r"\[?ERROR\]?:?\s*(.*)")


class DeviceFailure(Exception):
    """A device failed; the text is what its libraries or the kernel say.

    `is_import` where the packages cannot be imported.
    """

    def __init__(self, text: str, is_import: bool = False) -> None:
        super().__init__(text)
        self.is_import = is_import


class Arena:
    """Arrays that other processes see: parts of one nameless file, which grows.

    Not `/dev/shm`, which containers make smaller than a few batches. Source: memfd_create(2).
    """

    def __init__(self) -> None:
        self.file = os.memfd_create("batches", os.MFD_CLOEXEC)
        self._size = 0
        self._lock = threading.Lock()
        self._parts: list[mmap.mmap] = []  # as long as this is there, so are their addresses
        self._places: dict[int, int] = {}

    def new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return zeros; OSError where there is no memory for them."""
        count = math.prod(shape)
        size = max(1, count * dtype.itemsize)
        with self._lock:
            place = self._size
            self._size += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            os.ftruncate(self.file, self._size)
            # Where memory is short this says so; a page that is missing later would be a SIGBUS.
            os.posix_fallocate(self.file, place, size)
            part = mmap.mmap(self.file, size, offset=place)
            self._parts.append(part)
            array = np.frombuffer(part, dtype, count).reshape(shape)
            self._places[array.ctypes.data] = place
        return array

    def place(self, array: NDArray[Any]) -> int | None:
        """Return where a whole array of this arena lies, or None for any other array."""
        return self._places.get(array.ctypes.data)

    def close(self) -> None:
        """Let go of the file; arrays stay as they are."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class DeviceProcess:
    """One device with the model on it, in a process of its own.

    A slot is a request that may be on its way: the device runs one batch at a time, and the next
    one lies ready meanwhile.
    """

    def __init__(self, device: int, model: str, slots: int, arena: Arena) -> None:
        """Start the process; OSError where the system has no room for it."""
        self.device = device
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(slots)]
        self._connections = [here for here, _ in pipes]
        there = [end for _, end in pipes]
        handed = (Handed(arena.file), Handed(self._log.fileno()))
        with worker_process.children_inherit():
            self._process = context.Process(
                target=ascend_device.serve, args=(there, *handed, device, model), daemon=True
            )
            self._process.start()
        for end in there:
            end.close()

    def opened(self) -> Opened:
        """Wait until the model is on the device; DeviceFailure where it does not get there."""
        found = self._receive(0)
        assert isinstance(found, Opened)
        return found

    def infer(self, slot: int, feed: Feed) -> Answer:
        """Run a batch; one thread per slot. DeviceFailure where the device, or its process, fails.

        Ctrl-C does not reach the process, and `kill` ends the call.
        """
        # Where the process is gone, waiting for its answer tells.
        with contextlib.suppress(OSError):
            self._connections[slot].send(feed)
        found = self._receive(slot)
        assert isinstance(found, Answer)
        return found

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()

    def dismiss(self) -> None:
        """Tell the process to leave the device."""
        for connection in self._connections:
            connection.close()

    def end(self) -> None:
        """Wait for the end of a process that was told to leave; kill one that does not."""
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(STOP_S)
        self._log.close()

    def cpu_s(self) -> float:
        """Return the processor time of the process so far. Source: proc(5)."""
        try:
            with open(f"/proc/{self._process.pid}/stat", "rb") as file:  # noqa: PTH123
                words = file.read().rpartition(b")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK")

    def _receive(self, slot: int) -> Opened | Answer:
        try:
            found = self._connections[slot].recv()
        except (EOFError, OSError):
            raise DeviceFailure(self._death()) from None
        if isinstance(found, Failure):
            raise DeviceFailure(self._with_log(found.text), found.is_import)
        return found  # type: ignore[no-any-return]

    def _death(self) -> str:
        with self._lock:  # of the threads that wait for it only one gets to know its end
            self._process.join(STOP_S)
            code = self._process.exitcode
        if code is None:
            return "its process does not answer"
        if code >= 0:
            return self._with_log(f"its process ended by itself with code {code}")
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return self._with_log(f"its process was killed by {name}")

    def _with_log(self, text: str) -> str:
        """Return `text` with the last error that was printed, if it says more."""
        try:
            size = os.fstat(self._log.fileno()).st_size
            tail = os.pread(self._log.fileno(), _LOG_BYTES, max(0, size - _LOG_BYTES))
        except (OSError, ValueError):
            return text
        printed = _ERROR.findall(tail.decode(errors="replace"))
        return f"{text} ({printed[-1]})" if printed and printed[-1] not in text else text
