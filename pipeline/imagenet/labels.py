"""Label files: one image per line, `<file name> <label>`, as the guide's `val_label.txt`.

The key of an image is its name up to the first dot. Labels are class numbers counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline import atomic
from pipeline.errors import PipelineError

FORM = "one line per image, as in: ILSVRC2012_val_00000001.JPEG 65"


def stem_of(name: str) -> str:
    """Return the key of a file name: what stands before its first dot."""
    return name.split(".", 1)[0]


def read_labels(path: Path) -> dict[str, int]:
    """Return the label of every key in the file at `path`.

    The last field of a line is the label and all before it the name, so names may contain spaces.
    Any run of spaces or tabs separates them; a byte order mark, CRLF and empty lines are fine.
    Raises PipelineError, naming file and line, for anything else, and for a key that comes again
    with another label.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from error
    labels: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        name, label = _parse(line, where)
        key = stem_of(name)
        if not key:
            raise PipelineError(f"{where}: the name {name!r} begins with a dot", FORM)
        if labels.setdefault(key, label) != label:
            raise PipelineError(f"{where}: {key} has label {label} here and {labels[key]} above")
    if not labels:
        raise PipelineError(f"{path} holds no label", FORM)
    return labels


def write_labels(path: Path, names_and_labels: Iterable[tuple[str, int]]) -> None:
    """Write file names and their labels to `path`, whole or not at all.

    Raises PipelineError where a name would not read back as it is.
    """
    lines = []
    for name, label in names_and_labels:
        line = f"{name} {label}"
        if not _reads_back(line, name, label):
            raise PipelineError(f"{name!r} cannot stand in a label file", "rename the image")
        lines.append(line + "\n")
    atomic.write_text(path, "".join(lines))


def _reads_back(line: str, name: str, label: int) -> bool:
    try:
        return "\n" not in line and stem_of(name) != "" and _parse(line, "") == (name, label)
    except PipelineError:
        return False


def _parse(line: str, where: str) -> tuple[str, int]:
    fields = line.strip().rsplit(None, 1)
    if len(fields) != 2:
        raise PipelineError(f"{where}: no name and label", FORM)
    name, label = fields
    if not (label.isascii() and label.isdigit() and len(label) <= 9):
        raise PipelineError(f"{where}: {label!r} is no class number from 0 on", FORM)
    return name, int(label)
