"""The dumps of another run, as rows of values, whatever dtype they were written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import dump_folder

MOST_ROWS = 8192  # that are read from the front; of more, the last ones are read as well
_LAST = 512


@dataclass(frozen=True)
class Dumped:
    """The rows that were read, by the names of their images; `classes` are values per row."""

    images: Sequence[str]
    rows: NDArray[np.float32]
    raw: str = ""  # the dtype of the files, where it is not float32

    @property
    def classes(self) -> int:
        """Values per row."""
        return int(self.rows.shape[1])


def read(folder: Path, classes: int | None) -> Dumped:
    """Return the dumps in a folder, all or the first and last ones; PipelineError as it has them.

    Binary ones are taken for float16 or float64 where that alone makes `classes` values of them.
    """
    found = dump_folder.find(folder)
    count = len(found.images)
    parts = [(0, count)] if count <= MOST_ROWS else [(0, MOST_ROWS), (count - _LAST, count)]
    rows: list[NDArray[np.float32]] = []
    images: list[str] = []
    binary = False
    for start, stop in parts:
        for block in found.blocks(start, stop):
            rows.append(block.scores.copy())
            images += block.images
            binary = block.place(0).endswith(".bin")
    whole = np.concatenate(rows)
    names = [image.removesuffix("_output") for image in images]  # as msame calls them
    if binary and classes:
        for kind, name in (("<f2", "float16"), ("<f8", "float64")):
            values = whole.shape[1] * 4 // np.dtype(kind).itemsize
            if values in (classes, classes + 1) and whole.shape[1] not in (classes, classes + 1):
                return Dumped(names, whole.view(kind).astype(np.float32), name)
    return Dumped(names, whole)


def decimals(rows: NDArray[np.float32]) -> int | None:
    """Return the decimals that all values are cut to, at most 4; None where there are more."""
    wide = rows.astype(np.float64)
    for digits in range(5):
        scaled = wide * 10**digits
        if np.allclose(scaled, np.round(scaled), rtol=0, atol=1e-3 * 10 ** max(0, digits - 3)):
            return digits
    return None
