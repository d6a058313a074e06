"""`result.json`: the one line that the guide's scorer leaves.

Source: the guide's `vision_metric_ImageNet.py`. Every value is a string; a percentage is
`round(x * 100, 2)` and `%`, so it is not padded with zeros (`86.6%`, `100.0%`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST_TOP_ENTRIES = 5

_TITLE = "Overall statistical evaluation"
_PERCENTAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")


@dataclass(frozen=True)
class Result:
    """What a result file says; `percentages` are Top1, Top2, ... as they stand there."""

    images: int
    classes: int
    percentages: tuple[float, ...]


def top_entries(classes: int) -> int:
    """Return how many of Top1, Top2, ... a result with so many classes has."""
    return min(MOST_TOP_ENTRIES, classes)


def to_text(images: int, classes: int, accuracies: Sequence[float]) -> str:
    """Return the file's one line, without a newline.

    `accuracies` are the fractions (0 to 1) of Top1, Top2, ...; more than a result has are left
    out.
    """
    entries = [("Number of images", str(images)), ("Number of classes", str(classes))]
    for place, accuracy in enumerate(accuracies[: top_entries(classes)], 1):
        entries.append((f"Top{place} accuracy", f"{round(float(accuracy) * 100, 2)}%"))
    value = [{"key": key, "value": text} for key, text in entries]
    return json.dumps({"title": _TITLE, "value": value})


def from_text(text: str) -> Result:
    """Return what a result file says; ValueError where it is none."""
    try:
        content = json.loads(text)
        entries = {entry["key"]: entry["value"] for entry in content["value"]}
        images, classes = (_count(entries[f"Number of {what}"]) for what in ("images", "classes"))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ValueError("it is no result.json of the scorer") from None
    percentages = []
    for place in range(1, top_entries(classes) + 1):
        match = _PERCENTAGE.fullmatch(str(entries.get(f"Top{place} accuracy")))
        if match is None or float(match[1]) > 100:
            raise ValueError(f"its Top{place} accuracy is missing or no percentage")
        percentages.append(float(match[1]))
    return Result(images, classes, tuple(percentages))


def _count(value: object) -> int:
    word = str(value)
    if not (word.isascii() and word.isdigit() and len(word) <= 9):
        raise ValueError
    return int(word)
