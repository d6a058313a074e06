"""What the newer generation demands of paths.

An om is an existing `.om` file in either case. The rest is in force where `STANDIN_PATH_RULES` is
1: the characters, no links, owner or group, not writable by others, and private output folders.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_LEGAL = re.compile("[A-Za-z0-9_./-]*")
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_OPEN_OUTPUT = _WRITABLE | stat.S_IROTH | stat.S_IXOTH


def in_force() -> bool:
    """Say whether all rules hold."""
    return os.environ.get("STANDIN_PATH_RULES") == "1"


def check_model(path: str) -> None:
    """Raise ValueError where `path` may not be used as a model."""
    if not path:
        raise RuntimeError("empty model path!")
    if not Path(path).is_file():
        raise ValueError(f"The path:{path} is not a file.")
    if not path.endswith(".om"):
        raise ValueError(f"The suffix of path:{path} not in ['om']. Please check.")
    check_input(path)


def check_input(path: str) -> None:
    """Raise ValueError where `path`, or a file of that folder, may not be read."""
    if not in_force():
        return
    place = Path(path)
    for each in [place, *(sorted(place.iterdir()) if place.is_dir() else [])]:
        if _is_foreign(each) or each.stat().st_mode & _WRITABLE:
            raise ValueError(f"The path:{each} is illegal. Please check the error log")


def check_output(path: str) -> None:
    """Raise ValueError where nothing may be written to `path`."""
    if not in_force():
        return
    place = Path(path)
    if not place.exists():
        if not _LEGAL.fullmatch(str(place.absolute())):
            raise ValueError(f"path {place} contains illegal char")
    elif _is_foreign(place) or place.stat().st_mode & _OPEN_OUTPUT:
        raise ValueError(f"The path:{place} is illegal. Please check the error log")


def _is_foreign(place: Path) -> bool:
    if not _LEGAL.fullmatch(str(place.absolute())) or place.is_symlink():
        return True
    found = place.stat()
    return found.st_uid != os.geteuid() and found.st_gid not in os.getgroups()
