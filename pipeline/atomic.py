"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PipelineError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it becomes `path`.

    A link is followed: what it leads to is replaced, and the link stays. Raises PipelineError for
    what is no regular file: a device or a pipe would be lost under its name.

    A block that raises leaves `path` as it was. The temporary name is always the same, so a run
    that was killed leaves at most one such file, and the next run writes over it. The content is
    flushed to the disk before the name changes: after a power cut there is the old file or the
    new one, never an empty one.
    """
    target = path.resolve() if path.is_symlink() else path
    if target.exists() and not target.is_file():
        reason = "is a folder" if target.is_dir() else "is no regular file"
        raise PipelineError(f"{path} {reason}", "give the result another name")
    temporary = target.with_name(f".{target.name}.partial")
    if temporary.is_symlink():
        temporary.unlink()  # nobody here made it; what it leads to is not to be written
    try:
        yield temporary
        rename(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, temporary, str(temporary)):
            error.filename, error.filename2 = str(path), None  # the name that the user knows
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
    """Write `text` to `path`, whole or not at all.

    The encoding is that of file names, so that one in the text has the very bytes that it has in
    its folder, whatever the locale; as a rule it is UTF-8.
    """
    write_bytes(path, os.fsencode(text))


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
