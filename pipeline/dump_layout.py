"""Where in a folder the dumps of a run lie: at the top, by device, or in a folder of the run's own.

Layouts of other tools (source: ais_bench): `<output>/<time or name>/` for a run; `device<ID>`
(2023) or `device<ID>_<n>` (2025) in it for each of several devices; the summary among the dumps or
beside their folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import PipelineError

_DEVICE = re.compile(r"device([0-9]+)(?:_([0-9]+))?")

IsDump = Callable[[str], bool]


def locate(folder: Path, is_dump: IsDump) -> Path:
    """Return the folder of the one run whose dumps lie in `folder`: itself, or one in it.

    Itself also where there is none, for whoever looks for dumps to say so. PipelineError where
    there are several.
    """
    if _holds(folder, is_dump):
        return folder
    runs = [place for place in _folders(folder) if _holds(place, is_dump)]
    if len(runs) > 1:
        names = ", ".join(place.name for place in runs[:3])
        more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
        raise PipelineError(
            f"{folder} holds the results of {len(runs)} runs: {names}{more}",
            f"give one of them, such as {runs[-1]}",
        )
    return runs[0] if runs else folder


def parts(folder: Path, is_dump: IsDump) -> list[str]:
    """Return the names of the devices' folders, in the order of their numbers; none: the top.

    Dumps at the top are the run's, and then what else lies there is not.
    """
    if _has_dump(folder, is_dump):
        return []
    devices = [place.name for place in _folders(folder) if _DEVICE.fullmatch(place.name)]
    return sorted(devices, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _holds(folder: Path, is_dump: IsDump) -> bool:
    if _has_dump(folder, is_dump):
        return True
    return any(_has_dump(folder / name, is_dump) for name in parts(folder, is_dump))


def _has_dump(folder: Path, is_dump: IsDump) -> bool:
    with os.scandir(folder) as entries:
        return any(is_dump(entry.name) and entry.is_file() for entry in entries)


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if entry.is_dir())
