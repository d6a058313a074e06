"""What the answers of a run say of each class: accuracy, confusions, the images that are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline import class_names
from pipeline.answers import Answers
from pipeline.errors import one_line
from pipeline.report.content import Class, Confusion, Guess, Matrix, PerClass, Wrong
from pipeline.report.words import Text

EXAMPLES = 3
MOST_CLASSES_IN_MATRIX = 40
MOST_IN_NAME = 60  # characters of a class's name


def per_class(run: Text, answers: Answers, names: Mapping[int, str], names_from: Text) -> PerClass:
    """Return what the answers say of each class.

    Classes with the lowest Top1 come first, the most frequent confusions and the most confident
    mistakes as well; what is equal stands by number or name.
    """
    named = {label: one_line(name)[:MOST_IN_NAME] for label, name in names.items()}
    wrong = np.flatnonzero(~answers.right)
    order = wrong[np.lexsort((wrong, -np.nan_to_num(answers.shares[wrong, 0])))]
    confusions = list(_confusions(answers, order, named))
    return PerClass(
        run=run,
        images=len(answers.images),
        wrong_images=len(wrong),
        classes=tuple(_classes(answers, confusions, named)),
        confusions=tuple(confusions),
        wrong=tuple(_wrong(answers, row, named) for row in order.tolist()),
        matrix=_matrix(answers, named),
        names_from=names_from,
    )


def _classes(
    answers: Answers, confusions: list[Confusion], names: Mapping[int, str]
) -> list[Class]:
    first: dict[int, Confusion] = {}
    for confusion in confusions:
        first.setdefault(confusion.label, confusion)
    labels, place = np.unique(answers.labels, return_inverse=True)
    images = np.bincount(place)
    right = np.bincount(place[answers.right], minlength=len(labels))
    right_top5 = np.bincount(place[answers.ranks < 5], minlength=len(labels))
    found = []
    columns = (labels, images, right, right_top5)
    for label, count, one, five in zip(*(column.tolist() for column in columns), strict=True):
        taken = first.get(label)
        found.append(
            Class(
                label=label,
                name=class_names.name_of(label, names),
                images=count,
                right=one,
                right_top5=five,
                top1_percent=round(100 * one / count, 4),
                top5_percent=round(100 * five / count, 4),
                taken_for=taken.answer_name if taken else "",
                taken_for_images=taken.images if taken else 0,
            )
        )
    return sorted(found, key=lambda one: (one.top1_percent, one.top5_percent, one.label))


def _confusions(
    answers: Answers, wrong: NDArray[np.intp], names: Mapping[int, str]
) -> Iterator[Confusion]:
    """Yield each pair of label and answer, the most frequent first."""
    of_label = Counter(answers.labels.tolist())
    rows: dict[tuple[int, int], list[int]] = {}
    for row in wrong.tolist():
        pair = int(answers.labels[row]), int(answers.best[row, 0])
        rows.setdefault(pair, []).append(row)
    for (label, answer), those in sorted(rows.items(), key=lambda one: (-len(one[1]), one[0])):
        yield Confusion(
            label=label,
            name=class_names.name_of(label, names),
            answer=answer,
            answer_name=class_names.name_of(answer, names),
            images=len(those),
            percent=round(100 * len(those) / of_label[label], 4),
            examples=tuple(one_line(answers.images[row]) for row in those[:EXAMPLES]),
        )


def _wrong(answers: Answers, row: int, names: Mapping[int, str]) -> Wrong:
    label = int(answers.labels[row])
    guesses = []
    pairs = zip(answers.best[row].tolist(), answers.shares[row].tolist(), strict=True)
    for guess, share in pairs:
        probability = round(share, 6) if np.isfinite(share) else None
        guesses.append(Guess(guess, class_names.name_of(guess, names), probability))
    return Wrong(
        image=one_line(answers.images[row]),
        label=label,
        name=class_names.name_of(label, names),
        rank=int(answers.ranks[row]) + 1,
        guesses=tuple(guesses),
    )


def _matrix(answers: Answers, names: Mapping[int, str]) -> Matrix | None:
    """Return the shares of answers, where there are few enough classes to be looked at."""
    labels, place = np.unique(answers.labels, return_inverse=True)
    count = len(labels)
    if not 1 < count <= MOST_CLASSES_IN_MATRIX:
        return None
    best = answers.best[:, 0]
    column = np.searchsorted(labels, best)
    column[labels[np.minimum(column, count - 1)] != best] = count  # an answer of no such label
    found = np.zeros((count, count + 1))
    np.add.at(found, (place, column), 1)
    found *= 100 / found.sum(axis=1, keepdims=True)
    return Matrix(
        labels=tuple(class_names.name_of(label, names) for label in labels.tolist()),
        percent=tuple(tuple(row) for row in found.round(4).tolist()),
    )
