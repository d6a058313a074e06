"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it becomes `path`.

    A block that raises leaves `path` as it was. The temporary name is always the same, so a run
    that was killed leaves at most one such file, and the next run writes over it. The content is
    flushed to the disk before the name changes: after a power cut there is the old file or the
    new one, never an empty one.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def rename(temporary: Path, path: Path) -> None:
    """Give a finished file its name in the same folder, durably: content first, then the name."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all.

    Bytes of a file name that are no UTF-8 come back as they were (surrogateescape).
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
