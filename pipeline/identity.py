"""What a file, a folder, the project's code and a package are: by this a change of them is told."""

from __future__ import annotations

import errno
import hashlib
import operator
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent

Json = dict[str, Any]


def fingerprint(path: Path) -> Json:
    """Return what identifies a file (SHA-256) or a folder (digest of names, sizes, times).

    Fifty thousand tensors are 30 GB; their names, sizes and modification times are read in a
    fraction of a second and change whenever somebody touches one.
    """
    if path.is_dir():
        size = 0
        lines: list[str] = []
        for name, status in _walk(str(path), ""):
            lines.append(f"{name}\0{status.st_size} {status.st_mtime_ns}\0")
            size += status.st_size
        return {
            "path": str(path),
            "files": len(lines),
            "bytes": size,
            "listing_sha256": hashlib.sha256(os.fsencode("".join(lines))).hexdigest(),
        }
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": file_digest(path)}


def is_unchanged(entry: Json) -> bool:
    """Say whether what `fingerprint` returned as `entry` is still so; OSError as it has it."""
    path = Path(entry["path"])
    # A pipe or a device of that name would be read for ever.
    return (path.is_file() or path.is_dir()) and fingerprint(path) == entry


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def code_digest() -> str:
    """Return one digest of the project's own code, so that other code means other results."""
    digest = hashlib.sha256()
    rooms = ("cli", "pipeline", "models_vovnet")
    files = [*PROJECT.glob("*.py"), *(f for room in rooms for f in (PROJECT / room).rglob("*.py"))]
    for file in sorted(files):
        digest.update(str(file.relative_to(PROJECT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of these packages, `missing` for those that are."""
    import importlib.metadata  # as slow to import as all the rest of a stage that needs no NumPy

    found = {"python": sys.version.split()[0]}
    for package in packages:
        if package != "python":
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                found[package] = "missing"
    return found


def _walk(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (relative name, status) of every file below `folder`, in a fixed order.

    Links are followed, but for one that leads nowhere, to itself or to a folder that it lies in.
    """
    own = Path(folder).stat()
    if (own.st_dev, own.st_ino) in above:
        return
    above += ((own.st_dev, own.st_ino),)
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=operator.attrgetter("name"))
    for entry in ordered:
        try:
            status = entry.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                continue
            raise
        if stat.S_ISREG(status.st_mode):
            yield prefix + entry.name, status
        elif stat.S_ISDIR(status.st_mode):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above)
