"""Info files: what the benchmark tool is to read, one input per line.

A line is `<index> <path> <width> <height>` with single spaces. Indices run from 0; paths are
relative to the folder that the tool is started in, or absolute. Source: the guide's `get_info.py`.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline import atomic
from pipeline.errors import PipelineError
from pipeline.formats import text

FORM = "one input per line, as in: 0 ./prep_dataset/ILSVRC2012_val_00000001.bin 224 224"


@dataclass(frozen=True)
class InfoLine:
    """One input: its position, its path as written, its width and height in pixels."""

    index: int
    path: str
    width: int
    height: int


def read_info(path: Path) -> list[InfoLine]:
    """Return the lines of the info file at `path`.

    A path may contain spaces: the first field is the index and the last two are the sizes. Any run
    of spaces or tabs separates fields; a byte order mark, CRLF and empty lines are fine; indices
    may restart, as the guide's own listing has them. Raises PipelineError, naming file and line,
    for anything else, and for a file of more than 64 MiB.
    """
    data = text.read(path, "give an info file, made by get_info.py")
    lines = [
        _parse(line, f"{path}:{number}")
        for number, line in enumerate(
            os.fsdecode(data.removeprefix(codecs.BOM_UTF8)).split("\n"), 1
        )
        if line.strip()
    ]
    if not lines:
        raise PipelineError(f"{path} lists no input", FORM)
    return lines


def write_info(path: Path, lines: Iterable[InfoLine]) -> None:
    """Write `lines` to `path`, whole or not at all.

    Raises PipelineError where a path would not read back as it is, as with a line break in it.
    """
    written = []
    for line in lines:
        entry = f"{line.index} {line.path} {line.width} {line.height}"
        if not _reads_back(entry, line):
            raise PipelineError(
                f"{text.shown(line.path)} cannot stand in an info file", "rename the file"
            )
        written.append(entry + "\n")
    atomic.write_text(path, "".join(written))


def _reads_back(entry: str, line: InfoLine) -> bool:
    try:
        return "\n" not in entry and _parse(entry, "") == line
    except PipelineError:
        return False


def _parse(line: str, where: str) -> InfoLine:
    index, *rest = line.split(None, 1)
    fields = rest[0].rsplit(None, 2) if rest else []
    if len(fields) != 3:
        raise PipelineError(f"{where}: not four fields", FORM)
    if "\0" in fields[0]:
        raise PipelineError(f"{where}: a NUL byte in the path", FORM)
    sizes = [_number(field, where) for field in fields[1:]]
    if 0 in sizes:
        raise PipelineError(f"{where}: a width or height of 0", FORM)
    return InfoLine(_number(index, where), fields[0], *sizes)


def _number(field: str, where: str) -> int:
    if not (field.isascii() and field.isdigit() and len(field) <= 9):
        raise PipelineError(f"{where}: {text.shown(field)} is no whole number", FORM)
    return int(field)
