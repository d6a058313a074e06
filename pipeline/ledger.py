"""Which items of a folder are done, so that a run that was cut short goes on where it was.

The ledger of folder `X` is `X.ledger` beside it: text lines, each the CRC-32 of its JSON in eight
hex digits, a space, and the JSON. A run appends to it:

- `{"session": ..., "boot": ...}` when it begins: what it works from, and the boot of the machine;
- `{"item": key, ...}` as soon as an item's files are whole, one line by one write;
- `{"durable": n}`: the first n items of the session have reached the disk, with their files.

Killing a process loses nothing that the kernel has taken, so every item of a session counts as
long as the machine is up. After a power cut, which the boot's number tells, only durable items
count: a file system may have kept a name and lost the content. A line that was cut off, or is not
what was written, ends the reading.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import subprocess
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

SUFFIX = ".ledger"
BARRIER_S = 30.0  # between two times that everything written so far is brought to the disk
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def path_of(folder: Path) -> Path:
    """Return where the ledger of `folder` lies."""
    place = folder.resolve() if folder.name in ("", "..") else folder
    return place.with_name(place.name + SUFFIX)


def remove(folder: Path) -> None:
    """Remove the ledger of `folder`, if there is one: nothing that lies there is to be kept."""
    path_of(folder).unlink(missing_ok=True)


def boot_id() -> str:
    """Return what tells this boot of the machine from others; empty where the system has none."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


class Ledger:
    """The ledger of one run: a context manager to which items are added, all by one thread.

    `done` has the items that earlier runs have finished from just the same `session`: the facts
    they were added with, by their keys. Whether their files are still what they were is for the
    caller to see. What other sessions have left is forgotten, and so are items that a power cut may
    have damaged.
    """

    def __init__(
        self, folder: Path, session: Json, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin a session; the file is made where it is missing.

        `session` is what every item is made from besides its own source, as JSON: settings, code,
        versions. Raises OSError where the file cannot be read or written.
        """
        self._folder, self._clock = folder, clock
        self._path = path_of(folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o666)
        self._added = 0
        self._barrier: threading.Thread | None = None
        self._failure: OSError | None = None
        self._open_lock = threading.Lock()
        try:
            begin = json.loads(json.dumps(session))
            self.done, whole = _read(self._path.read_bytes(), begin)
            os.ftruncate(self._file, whole)
            self._append({"session": begin, "boot": boot_id()})
        except BaseException:
            os.close(self._file)
            raise
        self._last_barrier = clock()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._barrier and kind is None:  # whoever is interrupted does not wait for a slow disk
            self._barrier.join()
        with self._open_lock:
            os.close(self._file)
            self._file = -1

    def add(self, key: str, **facts: Any) -> None:
        """Note that the item's files are whole. Now and then a thread brings them to the disk.

        Raises OSError where the ledger, or what is on its way to the disk, cannot be written.
        """
        if self._failure:
            raise self._failure
        self._append({"item": key, **facts})
        self._added += 1
        busy = self._barrier is not None and self._barrier.is_alive()
        if not busy and self._clock() - self._last_barrier >= BARRIER_S:
            self._last_barrier = self._clock()
            self._barrier = threading.Thread(target=self._sync_aside, daemon=True)
            self._barrier.start()

    def sync(self) -> None:
        """Bring all files of the folder to the disk; OSError where they cannot be written."""
        count = self._added
        sync(self._folder)
        with self._open_lock:
            if self._file >= 0:  # else the run was given up meanwhile
                self._append({"durable": count})
                os.fsync(self._file)

    def _sync_aside(self) -> None:
        try:
            self.sync()
        except OSError as error:  # raised by the next `add`
            self._failure = error

    def _append(self, entry: Json) -> None:
        text = json.dumps(entry, separators=(",", ":")).encode()
        line = b"%08x %b\n" % (zlib.crc32(text), text)
        try:
            while line:  # a full disk takes a part, and says so the next time
                line = line[os.write(self._file, line) :]
        except OSError as error:
            error.filename = str(self._path)
            raise


def _read(data: bytes, session: Json) -> tuple[dict[str, Json], int]:
    """Return the items done in sessions like `session`, and the length of what is worth keeping."""
    done: dict[str, Json] = {}
    recent: list[tuple[str, Json]] = []  # of one boot, not known to be durable
    boot: object = None
    fits, whole, begin = False, 0, 0
    for line in data.splitlines(keepends=True):
        entry = _parse(line)
        if entry is None:
            break
        if "session" in entry:
            fits = entry["session"] == session
            if not fits:
                done.clear()  # the folder holds what was made under other terms
            if not fits or not _is_same_boot(boot, entry.get("boot")):
                recent = []
            boot, begin = entry.get("boot"), len(recent)
        elif "item" in entry and fits:
            recent.append((str(entry.pop("item")), entry))
        elif isinstance(count := entry.get("durable"), int) and fits:
            done.update(recent[: begin + count])
            recent, begin = recent[begin + count :], -count
        whole += len(line)
    if _is_same_boot(boot, boot_id()):
        done.update(recent)
    return done, whole if fits else 0


def _is_same_boot(one: object, other: object) -> bool:
    return bool(one) and one == other


def sync(folder: Path) -> None:
    """Bring everything on the file system of `folder` to the disk.

    One call for fifty thousand files; by fsync(2) each would cost a disk's turn. A process of its
    own waits for the disk where there is sync(1), because nothing can interrupt a process that
    does. Raises OSError where something could not be written.
    """
    try:
        done = subprocess.run(
            ["sync", "-f", "--", folder], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except FileNotFoundError:
        _sync_here(folder)
        return
    if done.returncode and b"option" in done.stderr:  # a sync(1) that knows no -f
        _sync_here(folder)
    elif done.returncode:
        folder.stat()  # where the folder is gone, that is the reason
        raise OSError(errno.EIO, "what was written has not reached the disk", str(folder))


def _sync_here(folder: Path) -> None:
    """Wait for the disk in this process. Source: syncfs(2); elsewhere sync(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


def _parse(line: bytes) -> Json | None:
    """Return the entry of one line, or None where it is not one that was written here."""
    with contextlib.suppress(ValueError, RecursionError):
        if line.endswith(b"\n") and int(line[:8], 16) == zlib.crc32(line[9:-1]):
            entry = json.loads(line[9:-1])
            return entry if isinstance(entry, dict) else None
    return None
