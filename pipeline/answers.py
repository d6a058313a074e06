"""What a model answered to each image of a run: its best classes, and where the label stands.

A class's place is that of `pipeline.scoring`: greater scores first, and of equal ones the lower
class. NaN comes last. With 1001 outputs, the first of them a class of its own, classes are
counted as labels are, so that the first is -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import dump_folder, progress, scoring
from pipeline.imagenet.labels import read_labels

BEST = 5
_SUM_OF_SHARES = 1e-3  # how far the sum of probabilities in half precision is from 1, at most


@dataclass(frozen=True)
class Answers:
    """All images of a run, in the order of their names; arrays have one row for each.

    `labels` and `ranks` (from 0) are those of the label file, both (images,). `best` holds the
    classes with the highest scores, best first, and `shares` their probabilities (0 to 1), both
    (images, up to 5): softmax over all scores, or the scores where they are probabilities already.
    """

    images: Sequence[str]
    labels: NDArray[np.intp]
    ranks: NDArray[np.intp]
    best: NDArray[np.intp]
    shares: NDArray[np.float64]
    classes: int  # outputs of the model

    @property
    def right(self) -> NDArray[np.bool_]:
        """Where the best class is the label, (images,)."""
        found: NDArray[np.bool_] = self.ranks == 0
        return found

    def accuracy(self, top: int) -> float:
        """Return the fraction of images whose label is among the `top` best."""
        return float((self.ranks < top).mean())


def read(dumps: Path, labels_file: Path) -> Answers:
    """Return the answers in a folder of dumps.

    PipelineError where a dump cannot be read or has no label, as `scoring.score` has it. That the
    folder is whole is left to its reader.
    """
    found = dump_folder.find(dumps)
    labels = read_labels(labels_file)
    rows = []
    shift = outputs = done = 0
    with progress.track("read the answers", len(found.images), "images") as update:
        for block in found.blocks(0, len(found.images)):
            outputs = block.scores.shape[1]
            shift = 1 if outputs == scoring.OUTPUTS_WITH_BACKGROUND else 0
            classes = scoring.classes_of(block, labels, labels_file)
            ranks, _ = scoring.ranks(block.scores, classes)
            best = best_classes(block.scores, BEST)
            rows.append((classes - shift, ranks, best - shift, _shares(block.scores, best)))
            done += len(ranks)
            update(done)
    label, rank, best, share = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return Answers(list(found.images), label, rank, best, share, outputs)


def best_classes(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the outputs with the `count` highest scores of each row, best first.

    `scores` is (rows, outputs); the result is (rows, at most `count`).
    """
    if scores.shape[1] <= count:
        return _sorted(scores, count)
    # Sorting all outputs of a row takes five times as long as finding the few best of them.
    best = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    own = np.take_along_axis(scores, best, axis=1)
    best = np.take_along_axis(best, _sorted(own, count), axis=1)
    # Of equal scores the partition takes any, and of NaN as well; such rows are sorted after all.
    unsure = np.count_nonzero(scores >= own.min(axis=1, keepdims=True), axis=1) != count
    best[unsure] = _sorted(scores[unsure], count)
    return best


def _sorted(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    found: NDArray[np.intp] = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return found


def _shares(scores: NDArray[np.float32], best: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the probabilities of the classes `best`; NaN where a row has no finite score."""
    values = scores.astype(np.float64)
    own = np.take_along_axis(values, best, axis=1)
    sums = values.sum(axis=1, keepdims=True)
    if (values >= 0).all() and np.allclose(sums, 1, rtol=0, atol=_SUM_OF_SHARES):
        return own
    with np.errstate(invalid="ignore"):
        greatest = np.nanmax(values, axis=1, keepdims=True)
        sums = np.nansum(np.exp(values - greatest), axis=1, keepdims=True)
        shares: NDArray[np.float64] = np.exp(own - greatest) / sums
        return shares
