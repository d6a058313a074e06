"""Results of a run, made without one: scores, labels, and the three forms that results come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import progress
from pipeline.imagenet.labels import write_labels
from pipeline.runner.flow import Batch
from pipeline.runner.sinks import DumpFiles, ResultArrays

CLASSES = 1000
FORMS = ("text", "binary", "npy")
_BLOCK = 256
_LABEL_LEAD = 2.0  # deviations by which the label's score leads on average
_SEED = 39


def stems(count: int) -> list[str]:
    """Return the names of the images, as the ImageNet validation set has them."""
    return [f"ILSVRC2012_val_{number:08d}" for number in range(1, count + 1)]


def make_labels(path: Path, count: int) -> None:
    """Write the label file."""
    classes = np.random.default_rng(_SEED).integers(0, CLASSES, count).tolist()
    named = zip((f"{stem}.JPEG" for stem in stems(count)), classes, strict=True)
    write_labels(path, named)


def make_results(folder: Path, count: int, form: str) -> None:
    """Fill `folder` with seeded scores by the runner's own writers; all forms hold the same.

    Scores are normal with deviation 3, the label's own higher, so that Top1 and Top5 differ.
    """
    folder.mkdir(parents=True)
    names = stems(count)
    labels = np.random.default_rng(_SEED).integers(0, CLASSES, count)
    shape = np.zeros((_BLOCK, CLASSES), np.float32)
    with progress.track(f"make results, {form}", count, "results") as update:
        if form == "npy":
            with ResultArrays(folder, names, [shape], _BLOCK) as arrays:
                for batch in _batches(count, labels, update):
                    arrays.write(batch)
        else:
            files = DumpFiles(folder, names, form == "binary")
            for batch in _batches(count, labels, update):
                files.write(batch)


def _batches(
    count: int, labels: NDArray[np.int64], update: Callable[[int], None]
) -> Iterator[Batch]:
    empty = np.empty((_BLOCK, 0), np.float32)  # the writers take the size of a batch from it
    for first in range(0, count, _BLOCK):
        rows = min(_BLOCK, count - first)
        rng = np.random.default_rng((_SEED, first))
        scores = rng.normal(0, 3, (_BLOCK, CLASSES)).astype(np.float32)
        scores[np.arange(rows), labels[first : first + rows]] += np.float32(3 * _LABEL_LEAD)
        yield Batch(empty, first, rows, [scores])
        update(first + rows)
