"""Label files: one image per line, `<file name> <label>`, as the guide's `val_label.txt`.

The key of an image is its name up to the first dot. Labels are class numbers counted from 0.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path

from pipeline import atomic
from pipeline.errors import PipelineError

FORM = "one line per image, as in: ILSVRC2012_val_00000001.JPEG 65"
FORM_HINT = f"give a label file: {FORM}"


def stem_of(name: str) -> str:
    """Return the key of a file name: what stands before its first dot."""
    return name.split(".", 1)[0]


def read_labels(path: Path) -> dict[str, int]:
    """Return the label of every key in the file at `path`.

    The last field of a line is the label and all before it the name, so names may contain spaces.
    Any run of spaces or tabs separates them; a byte order mark, CRLF and empty lines are fine. A
    number before the label is refused: it is a column too many, and one of the two is wrong.
    Raises PipelineError, naming file and line, for anything else, and for a key that comes again
    with another label.
    """
    try:
        text = os.fsdecode(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}", FORM_HINT) from error
    return _read_plain(text) or _read_any(path, text)


def _read_plain(text: str) -> dict[str, int] | None:
    """Return the labels of a file in the guide's own form, or None where it has another.

    That form has one space in a line, between a name without any and a class, and no name twice.
    """
    words = text.split()
    names, classes = words[::2], words[1::2]
    if "\n".join(map(" ".join, zip(names, classes, strict=False))) != text.rstrip("\n"):
        return None
    known = {word: int(word) for word in set(classes) if _is_class(word)}
    keys = [name.split(".", 1)[0] for name in names]  # stem_of, at half the time
    labels = dict(zip(keys, map(known.get, classes, repeat(-1)), strict=True))
    plain = len(labels) == len(keys) and "" not in labels and -1 not in labels.values()
    return labels if plain else None


def _read_any(path: Path, text: str) -> dict[str, int]:
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
    if not _is_class(label):
        raise PipelineError(f"{where}: {label!r} is no class number from 0 on", FORM)
    before = name.split()[-1]
    if before != name and _is_class(before):
        raise PipelineError(f"{where}: two numbers, {before} and {label}, after the name", FORM)
    return name, int(label)


def _is_class(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 9
