"""A stand-in for a failing machine, for processes that find this folder on PYTHONPATH.

It is no file system: it stands between Python and the system's calls, in the process that imports
it and in those that this one starts. What FAULT_LAYER says, as JSON, decides what goes wrong:

- `under`: only files below this folder are touched;
- `seed`, `delay_s`: each call takes up to twice as long on top;
- `rate`, `errors`: so often a call fails, with one of these errors where the call can have it;
- `short`: so often a read or a write takes a part only;
- `room`: so many bytes can be written by one process; then the disk is full;
- `clock_s`: the time of day jumps by so much, back and forth; `haste`: the other clock runs faster;
- `boot`: what the kernel gives for the number of this boot.

Python repeats a call that a signal has interrupted (PEP 475), so EINTR is not among the errors.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

BOOT = "/proc/sys/kernel/random/boot_id"
# What each call may fail with, by the pages of open(2), write(2), rename(2), fsync(2), read(2).
POSSIBLE = {
    "open": ("EIO",),
    "create": ("EIO", "ENOSPC", "EDQUOT"),
    "write": ("EIO", "ENOSPC", "EDQUOT"),
    "read": ("EIO",),
    "rename": ("EIO", "ENOSPC", "EDQUOT"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT"),
    "mkdir": ("EIO", "ENOSPC", "EDQUOT"),
}


class Layer:
    """The faults that were asked for; every wrapped call asks it first."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._under = str(spec.get("under", "/nowhere")).rstrip("/") + "/"
        self._delay_s = float(spec.get("delay_s", 0))
        self._rate, self._short = float(spec.get("rate", 0)), float(spec.get("short", 0))
        self._errors = set(spec.get("errors", ()))
        self._room: int | None = spec.get("room")
        self._random = random.Random(f"{spec.get('seed')} {sys.orig_argv}")
        self._sleep = time.sleep
        self._files: dict[int, Any] = {}

    def covers(self, file: Any) -> bool:
        """Say whether a path or a descriptor is one of those that faults happen to."""
        if isinstance(file, int):
            return file in self._files
        if not isinstance(file, str | bytes | os.PathLike):
            return False
        path = os.path.abspath(os.fsdecode(file))  # noqa: PTH100
        return path.startswith(self._under)

    def opened(self, number: int, path: Any) -> None:
        """Remember a descriptor that was opened."""
        self._files[number] = path

    def closed(self, number: int) -> None:
        """Forget a descriptor."""
        self._files.pop(number, None)

    def before(self, call: str, *names: Any) -> None:
        """Let time pass, and perhaps raise OSError as the system would."""
        if self._delay_s:
            self._sleep(self._delay_s * 2 * self._random.random())
        possible = [name for name in POSSIBLE[call] if name in self._errors]
        if possible and self._random.random() < self._rate:
            raise _error(self._random.choice(possible), *names)

    def part(self, size: int, writing: bool) -> int:
        """Return how many of `size` bytes the call takes; OSError where the disk is full."""
        if size > 1 and self._random.random() < self._short:
            size = self._random.randrange(1, size)
        if writing and self._room is not None:
            if size and not self._room:
                raise _error("ENOSPC")
            size = min(size, self._room)
            self._room -= size
        return size


class File(io.FileIO):
    """An open file whose reads and writes go through the layer."""

    layer: Layer

    def write(self, data: Any) -> int:
        """Write all of it or a part."""
        view = memoryview(data).cast("B")
        self.layer.before("write")
        return super().write(view[: self.layer.part(len(view), writing=True)])

    def readinto(self, buffer: Any) -> int:
        """Read as much as fits or a part."""
        view = memoryview(buffer).cast("B")
        self.layer.before("read")
        return super().readinto(view[: self.layer.part(len(view), writing=False)]) or 0

    def close(self) -> None:
        """Close it."""
        if not self.closed and self.closefd:
            self.layer.closed(self.fileno())
        super().close()

    def readall(self) -> bytes:
        """Read what is left."""
        self.layer.before("read")
        return super().readall()

    def read(self, size: int | None = -1) -> bytes:
        """Read up to so many bytes."""
        self.layer.before("read")
        return super().read(size)


def _error(name: str, *names: Any) -> OSError:
    number = getattr(errno, name)
    # OSError(errno, text, filename, None, filename2), as the system's own calls give it.
    rest = names[:1] if len(names) < 2 else (names[0], None, names[1])
    return OSError(number, os.strerror(number), *rest)


def _wrap_open(layer: Layer, boot: str | None) -> None:
    real = io.open

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if boot and not isinstance(file, int) and os.fsdecode(file) == BOOT:
            return io.StringIO(f"{boot}\n")
        if not layer.covers(file):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int):
            layer.before("create" if set(mode) & set("wxa+") else "open", file)
        raw = File(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        raw.layer = layer
        layer.opened(raw.fileno(), raw.name)
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffer: Any
        if "+" in mode:
            buffer = io.BufferedRandom(raw, size)
        elif set(mode) & set("wxa"):
            buffer = io.BufferedWriter(raw, size)
        else:
            buffer = io.BufferedReader(raw, size)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

    io.open = opened
    builtins.open = opened


def _wrap_descriptors(layer: Layer) -> None:
    real_open, real_close, real_write, real_pwrite = os.open, os.close, os.write, os.pwrite
    real_read, real_pread, real_readv = os.read, os.pread, os.readv

    def open_(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if not layer.covers(path):
            return real_open(path, flags, *rest, **named)
        layer.before("create" if flags & os.O_CREAT else "open", path)
        number = real_open(path, flags, *rest, **named)
        layer.opened(number, path)
        return number

    def close(fd: int) -> None:
        layer.closed(fd)
        real_close(fd)

    def writing(real: Callable[..., int]) -> Callable[..., int]:
        def call(number: int, data: Any, *rest: Any) -> int:
            if not layer.covers(number):
                return real(number, data, *rest)
            layer.before("write")
            view = memoryview(data).cast("B")
            return real(number, view[: layer.part(len(view), writing=True)], *rest)

        return call

    def reading(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(number: int, *rest: Any) -> Any:
            if layer.covers(number):
                layer.before("read")
            return real(number, *rest)

        return call

    os.open, os.close = open_, close
    os.write, os.pwrite = writing(real_write), writing(real_pwrite)
    os.read, os.pread, os.readv = reading(real_read), reading(real_pread), reading(real_readv)


def _wrap_names(layer: Layer) -> None:
    def naming(call: str, real: Callable[..., Any], names: int) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if arguments and layer.covers(arguments[0]):
                layer.before(call, *arguments[:names])
            return real(*arguments, **named)

        return wrapped

    os.replace = naming("rename", os.replace, 2)
    os.rename = naming("rename", os.rename, 2)
    os.mkdir = naming("mkdir", os.mkdir, 1)
    os.fsync = naming("fsync", os.fsync, 0)


def _wrap_clocks(jump_s: float, haste: float, seed: Any) -> None:
    chance = random.Random(f"clock {seed}")
    real, real_ns, monotonic = time.time, time.time_ns, time.monotonic

    def jump() -> float:
        return chance.choice((-jump_s, 0.0, jump_s))

    if jump_s:
        time.time = lambda: real() + jump()
        time.time_ns = lambda: real_ns() + int(jump() * 1e9)
    if haste:
        time.monotonic = lambda: monotonic() * haste


def _install() -> None:
    spec = json.loads(os.environ.get("FAULT_LAYER") or "{}")
    if spec:
        layer = Layer(spec)
        _wrap_open(layer, spec.get("boot"))
        _wrap_descriptors(layer)
        _wrap_names(layer)
        _wrap_clocks(float(spec.get("clock_s", 0)), float(spec.get("haste", 0)), spec.get("seed"))


_install()
