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
from pipeline.formats import text

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
    Raises PipelineError, naming file and line, for anything else, for a key that comes again with
    another label, and for a file of more than 64 MiB.
    """
    content = os.fsdecode(text.read(path, FORM_HINT).removeprefix(codecs.BOM_UTF8))
    return read_plain(content) or read_any(path, content)


def read_plain(content: str) -> dict[str, int] | None:
    """Return the labels of a file in the guide's own form, or None where it has another.

    That form has one space in a line, between a name without any and a class, and no name twice.
    """
    words = content.split()
    names, classes = words[::2], words[1::2]
    if "\n".join(map(" ".join, zip(names, classes, strict=False))) != content.rstrip("\n"):
        return None
    known = {word: int(word) for word in set(classes) if _is_class(word)}
    keys = [name.split(".", 1)[0] for name in names]  # stem_of, at half the time
    labels = dict(zip(keys, map(known.get, classes, repeat(-1)), strict=True))
    plain = len(labels) == len(keys) and "" not in labels and -1 not in labels.values()
    return labels if plain else None


def read_any(path: Path, content: str) -> dict[str, int]:
    """Return the labels of a file in any form that `read_labels` takes, with its errors."""
    labels: dict[str, int] = {}
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        name, label = _parse(line, where)
        key = stem_of(name)
        if not key:
            raise PipelineError(f"{where}: the name {text.shown(name)} begins with a dot", FORM)
        if labels.setdefault(key, label) != label:
            there = f"{label} here and {labels[key]} above"
            raise PipelineError(f"{where}: {key[:80]} has label {there}", "remove the wrong one")
    if not labels:
        raise PipelineError(f"{path} holds no label", FORM)
    return labels


def write_labels(path: Path, names_and_labels: Iterable[tuple[str, int]]) -> None:
    """Write file names and their labels to `path`, whole or not at all.

    Raises PipelineError where a name would not read back as it is.
    """
    atomic.write_text(path, label_text(names_and_labels))


def label_text(names_and_labels: Iterable[tuple[str, int]]) -> str:
    """Return what `write_labels` writes; errors are as it has them."""
    lines = []
    for name, label in names_and_labels:
        line = f"{name} {label}"
        if not _reads_back(line, name, label):
            raise PipelineError(
                f"{text.shown(name)} cannot stand in a label file", "rename the image"
            )
        lines.append(line + "\n")
    return "".join(lines)


def _reads_back(line: str, name: str, label: int) -> bool:
    if "\n" in line or name.startswith("\ufeff") or not stem_of(name):  # as a byte order mark
        return False
    try:
        return _parse(line, "") == (name, label)
    except PipelineError:
        return False


def _parse(line: str, where: str) -> tuple[str, int]:
    fields = line.strip().rsplit(None, 1)
    if len(fields) != 2:
        raise PipelineError(f"{where}: no name and label", FORM)
    name, label = fields
    if not _is_class(label):
        raise PipelineError(f"{where}: {text.shown(label)} is no class number from 0 on", FORM)
    before = name.split()[-1]
    if before != name and _is_class(before):
        raise PipelineError(f"{where}: two numbers, {before} and {label}, after the name", FORM)
    return name, int(label)


def _is_class(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 9
