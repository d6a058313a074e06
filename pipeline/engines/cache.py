"""What was compiled or found out once, kept by content, so that a second start is quick.

An entry's name is the SHA-256 of all that it depends on: the model's bytes, the engine's version,
the processor, the settings. OpenVINO's own CACHE_DIR is not used: its key leaves the precision out
(a bf16 model is served the fp32 one's entry), and it writes to the final name, so that a second
process may read half an entry.

An entry here is there whole or not at all, and ends with the SHA-256 of its name and content. It is
passed over where these do not agree, and where somebody else than this user could have written it:
a compiled model is taken by an engine as it is. So is a folder that belongs to another user, that
everybody may write to, or that another user's link leads to. Nothing here raises: without a cache,
a start merely takes longer.

The folder is `vovnet39-inference` in `$XDG_CACHE_HOME`, or in `~/.cache` (XDG Base Directory
Specification); `VOVNET39_CACHE` names another, and `VOVNET39_CACHE=off` means none. The entries
used longest ago are dropped beyond 2 GiB.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

VARIABLE = "VOVNET39_CACHE"
OFF = "off"
MOST_BYTES = 2 << 30

_FOLDER = "vovnet39-inference"
_NAME = re.compile(r"[0-9a-f]{64}|partial-\w+")
_PARTIAL = "partial-"
_STALE_S = 3600  # of a partial file: who wrote it was killed
_ROOT = 0
_DIGEST_BYTES = hashlib.sha256().digest_size


def default_folder() -> Path | None:
    """Return the user's cache folder, or None where there is to be none or none can be told."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return None if chosen.lower() == OFF else Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # noqa: PTH117 (the specification has relative ones ignored)
        return Path(base, _FOLDER)
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and the user is in no list
        return None
    return home / ".cache" / _FOLDER


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of(facts: dict[str, Any]) -> str:
    """Return the name of the entry that depends on `facts`, which JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Cache:
    """A folder of entries. Several processes may use it at once."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes

    def find(self, name: str) -> memoryview | None:
        """Return the content of an entry, mapped from its file, or None where it has none."""
        if self._distrust():
            return None
        path = self._folder / name
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not _is_own(os.fstat(handle)):
                    return None
                # A private copy, made page by page where somebody writes; engines want to be able.
                content = memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_COPY))
            finally:
                os.close(handle)
        except (OSError, ValueError):  # ValueError: the file is empty
            return None
        data, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if _digest(name, data) != digest:
            return None
        with contextlib.suppress(OSError):  # in a folder for reading only nothing is dropped either
            os.utime(path)
        return data

    def keep(self, name: str, data: bytes) -> str:
        """Keep an entry, drop old ones, and return why it was not kept, or nothing."""
        if len(data) > self._most_bytes:
            return f"{len(data)} bytes are more than the {self._most_bytes} of the whole cache"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if reason := self._distrust():
                return f"{self._folder}: {reason}"
            self._write(name, data)
            self._drop_old(name)
        except OSError as error:
            return f"{self._folder}: {error.strerror or error}"
        return ""

    def _distrust(self) -> str:
        """Return why what lies in the folder could be another user's, or nothing."""
        try:
            link, folder = self._folder.lstat(), self._folder.stat()
        except OSError:  # it is not there, or whoever uses it next will say
            return ""
        if not {link.st_uid, folder.st_uid} <= {os.geteuid(), _ROOT}:
            return "it belongs to another user"
        return "everybody may write to it" if folder.st_mode & stat.S_IWOTH else ""

    def _write(self, name: str, data: bytes) -> None:
        handle, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.write(_digest(name, data))
            Path(partial).replace(self._folder / name)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def _drop_old(self, newest: str) -> None:
        found = []
        for path in self._folder.iterdir():
            if not _NAME.fullmatch(path.name) or path.name == newest:
                continue
            with contextlib.suppress(FileNotFoundError):  # another process drops as well
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        left = self._most_bytes - (self._folder / newest).stat().st_size
        for used, size, path in sorted(found, reverse=True):
            left -= size
            stale = path.name.startswith(_PARTIAL) and time.time() - used > _STALE_S
            if stale or (left < 0 and not path.name.startswith(_PARTIAL)):
                path.unlink(missing_ok=True)


def _is_own(status: os.stat_result) -> bool:
    """Say whether it is a file that this user alone can have written."""
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not others


def _digest(name: str, data: bytes | memoryview) -> bytes:
    """Return what an entry ends with; the name is in it, so that none is taken for another."""
    digest = hashlib.sha256(name.encode())
    digest.update(data)
    return digest.digest()
