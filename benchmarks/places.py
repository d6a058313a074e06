"""Where a benchmark puts its files: a file system in memory where there is one, and the disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError

_MOUNTS = Path("/proc/mounts")
_MEMORY = Path("/dev/shm")  # tmpfs on Linux: shm_overview(7)
_SPARE = 1.2


@contextmanager
def scratch(need: int, chosen: Path | None, in_memory: bool = True) -> Iterator[Path]:
    """Yield an empty folder with room for `need` bytes, and remove it with all that it holds.

    It is made in `chosen`; without one, in memory where asked for and there is room, else in the
    system's folder for temporary files. PipelineError where there is no room.
    """
    parent = chosen
    if parent is None and in_memory and has_memory(need):
        parent = _MEMORY
    parent = parent or Path(tempfile.gettempdir())
    if not parent.is_dir():
        raise PipelineError(f"{parent} is no folder", "make it, or choose another --work-dir")
    if shutil.disk_usage(parent).free < need * _SPARE:
        raise PipelineError(
            f"{parent} has less than {need * _SPARE / 1e9:.1f} GB free",
            "free some space, choose another --work-dir, or measure with fewer images",
        )
    with tempfile.TemporaryDirectory(prefix="vovnet-benchmark-", dir=parent) as folder:
        yield Path(folder)


def has_memory(need: int) -> bool:
    """Say whether there is a file system in memory that can hold `need` bytes."""
    if kind(_MEMORY) not in ("tmpfs", "ramfs"):
        return False
    return min(shutil.disk_usage(_MEMORY).free, _available_memory()) >= need * _SPARE * 2


def kind(folder: Path) -> str:
    """Return the type of the file system that `folder` lies on, such as `ext4` or `tmpfs`."""
    if not _MOUNTS.exists() or not folder.exists():
        return "unknown"
    best, found = -1, "unknown"
    whole = folder.resolve()
    for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, mount, name = line.split(" ", 3)[:3]
        # Blanks in mount points are written as \040: proc(5), fstab(5).
        point = Path(mount.replace("\\040", " "))
        if whole.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), name
    return found


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
