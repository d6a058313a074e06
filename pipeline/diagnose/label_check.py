"""Do the labels belong to the images? By the model's answers: right ones agree with good labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.diagnose import orders
from pipeline.diagnose.findings import DIFFERS, EXPLAINED, SAME, Step, skipped
from pipeline.imagenet.labels import read_labels
from pipeline.scoring import wilson_interval

STEP = "labels"
_LEAST = 20  # images that can tell
_SHOWN = 3
Classes = NDArray[np.intp]
_CLASSES = 1000


def examine(path: Path | None, images: Sequence[str], answers: Classes, classes: int) -> Step:
    """Compare the labels of `images` with the model's first guesses `answers`, counted from 0."""
    if path is None:
        return skipped(STEP, "give --labels")
    if not len(images):
        return skipped(STEP, "give --dumps, or --model, for answers to compare them with")
    labels = read_labels(path)
    known = [row for row, name in enumerate(images) if name in labels]
    if not known:
        said = f"{path} has no label for any of these images, such as {images[0]}"
        return Step(STEP, DIFFERS, "", said, said, "give the label file of these images")
    given = np.array([labels[images[row]] for row in known], np.intp)
    guessed = answers[known]
    names = [images[row] for row in known]
    hits = int((given == guessed).sum())
    top1 = f"Top1 {hits / len(known):.2%} of {len(known)} images"
    without = len(images) - len(known)
    rest = f", {without} images have no label" if without else ""
    if len(known) < _LEAST:
        return skipped(STEP, f"{len(known)} labelled images cannot tell, {_LEAST} can ({top1})")
    best, better = _best(names, given, guessed, classes, labels)
    low = wilson_interval(better, len(known))[0]
    if best and low > wilson_interval(hits, len(known))[1]:
        said = (
            f"{_SAID[best][0]}: Top1 is {hits / len(known):.2%} so, and {better / len(known):.2%}"
        )
        return Step(STEP, EXPLAINED, top1, said, said + " otherwise", _SAID[best][1])
    if given.max() >= classes or hits <= 3 * len(known) / max(2, len(set(given.tolist()))):
        said = f"the labels have little to do with the model's answers ({top1})"
        if given.max() >= classes:
            said = f"the labels go to {given.max()}, and the model has {classes} classes"
        advice = "give the label file of these images, numbered as the checkpoint's classes"
        return Step(STEP, DIFFERS, top1, said + rest, said, advice)
    return Step(STEP, SAME, top1, f"no other numbering fits better{rest}")


# Other ways to read the labels: names, labels, guesses, classes -> labels as they should be, or how
# many would then be right.

Reading = Callable[[Sequence[str], Classes, Classes, int, Mapping[str, int]], int]


def _moved_by(step: int) -> Reading:
    return lambda names, given, guessed, classes, labels: int((given + step == guessed).sum())


def _neighbour(step: int) -> Reading:
    """Return how many are right with the label of an image some places on, by name."""

    def read(
        names: Sequence[str],
        given: Classes,
        guessed: Classes,
        classes: int,
        labels: Mapping[str, int],
    ) -> int:
        ordered = sorted(labels)
        place = {name: number for number, name in enumerate(ordered)}
        moved = [labels[ordered[(place[name] + step) % len(ordered)]] for name in names]
        return int((np.array(moved, np.intp) == guessed).sum())

    return read


def _reversed(
    names: Sequence[str], given: Classes, guessed: Classes, classes: int, labels: Mapping[str, int]
) -> int:
    return int((classes - 1 - given == guessed).sum())


def _as_words(
    names: Sequence[str], given: Classes, guessed: Classes, classes: int, labels: Mapping[str, int]
) -> int:
    """Count the labels that are right when class numbers were sorted as words: 0, 1, 10, 100."""
    words = sorted(range(classes), key=str)
    able = given < classes
    return int((np.array(words, np.intp)[np.where(able, given, 0)] == guessed)[able].sum())


def _relabelled(
    names: Sequence[str], given: Classes, guessed: Classes, classes: int, labels: Mapping[str, int]
) -> int:
    """Count the guesses that the other images of the same label agree with.

    Each image is left out of what it is judged by, so that chance has no part in it; and two labels
    may not mean one class.
    """
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    for label, guess in zip(given.tolist(), guessed.tolist(), strict=True):
        votes[label][guess] += 1
    meant = {label: counts.most_common(1)[0][0] for label, counts in votes.items()}
    if len(set(meant.values())) < 0.8 * len(meant):
        return 0
    right = 0
    for label, guess in zip(given.tolist(), guessed.tolist(), strict=True):
        others = votes[label] - Counter([guess])
        right += bool(others) and others.most_common(1)[0][0] == guess
    return right


def _other_order(
    names: Sequence[str], given: Classes, guessed: Classes, classes: int, labels: Mapping[str, int]
) -> int:
    """Count what is right with the labels given out by the numbers in the names, not by name."""
    ordered, numbered = sorted(labels), sorted(labels, key=orders.natural)
    if ordered == numbered:
        return 0
    best = 0
    for one, other in ((ordered, numbered), (numbered, ordered)):
        right = dict(zip(one, (labels[name] for name in other), strict=True))
        best = max(best, int((np.array([right[n] for n in names], np.intp) == guessed).sum()))
    return best


_ORDERED = "give each image the label of its own line"
_SAID: dict[str, tuple[str, str]] = {
    "+1": ("the labels are one too low", "add 1 to each label: classes count from 0"),
    "-1": (
        "the labels are one too high, counted from 1",
        "subtract 1 from each label: classes count from 0",
    ),
    "reversed": ("the labels count backwards", "number the classes from 0 upwards"),
    "words": (
        "the classes were sorted as words (0, 1, 10, 100, ...)",
        "sort the class numbers as numbers",
    ),
    "next": ("each label is that of the image before", _ORDERED),
    "previous": ("each label is that of the image behind", _ORDERED),
    "order": ("the labels were given out in another order of the images", _ORDERED),
    "relabelled": (
        "the classes are numbered in another order than the checkpoint's",
        "number the classes as in training: by the sorted names of the synsets",
    ),
}
_READINGS: dict[str, Reading] = {
    "+1": _moved_by(1),
    "-1": _moved_by(-1),
    "reversed": _reversed,
    "words": _as_words,
    "next": _neighbour(1),
    "previous": _neighbour(-1),
    "order": _other_order,
    "relabelled": _relabelled,
}


def _best(
    names: Sequence[str],
    given: Classes,
    guessed: Classes,
    classes: int,
    labels: Mapping[str, int],
) -> tuple[str, int]:
    """Return the reading that makes most guesses right, and how many."""
    found = {
        name: reading(names, given, guessed, classes, labels) for name, reading in _READINGS.items()
    }
    best = max(found, key=lambda name: found[name])
    return best, found[best]
