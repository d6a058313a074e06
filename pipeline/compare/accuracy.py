"""Two scores beside each other, image by image where the dumps of both are there.

Each side's answers are held against its own label file. The interval of a change is that of matched
pairs, and the signal to quantisation noise ratio that of `pipeline.judge`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import answers, chain, dump_folder, judge, progress
from pipeline.answers import Answers
from pipeline.compare.sides import Pair
from pipeline.formats import result
from pipeline.work_dir import Score

LOST, WON, MOVED = "right -> wrong", "wrong -> right", "wrong -> other"
BOTH = "right -> right"  # where the labels differ as well
KINDS = (LOST, WON, MOVED, BOTH)
_KIND = {(True, False): LOST, (False, True): WON, (False, False): MOVED, (True, True): BOTH}


@dataclass(frozen=True)
class Flip:
    """An image with two different answers; shares are probabilities, 0 to 1."""

    image: str
    kind: str
    label: int
    base_answer: int
    base_share: float
    other_answer: int
    other_share: float


@dataclass(frozen=True)
class Change:
    """TopN of both sides on the same images: hits, and the images won and lost from base on."""

    images: int
    base_hits: int
    other_hits: int
    won: int
    lost: int

    @property
    def points(self) -> float:
        """Change in points of percent."""
        return 100 * (self.won - self.lost) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the change, in points; see `judge.paired_interval`."""
        return judge.paired_interval(self.won, self.lost, self.images)


@dataclass(frozen=True)
class Matched:
    """What the images in common come to."""

    images: int
    left_out: tuple[int, int]  # images of base and of other that the other side lacks
    relabelled: int  # images whose labels differ
    changes: tuple[Change, ...]  # Top1, Top2, ...
    same: int  # images with the same Top1 answer
    sqnr_db: float | None
    without_sqnr: str  # why there is none
    flips: tuple[Flip, ...] = field(repr=False)

    def count(self, kind: str) -> int:
        """Return how many flips are of a kind."""
        return sum(flip.kind == kind for flip in self.flips)


@dataclass(frozen=True)
class Accuracy:
    """Two scores; `matched` is None where they cannot be compared image by image, as `why` says."""

    pair: Pair
    base: Score
    other: Score
    matched: Matched | None
    why: str

    @property
    def rough_points(self) -> float | None:
        """The change of Top1 in points by the scores alone.

        None where they are known to be of other images or labels, so that it would mean nothing.
        """
        if self.base.found.images != self.other.found.images:
            return None
        digests = {_labels_digest(self.base), _labels_digest(self.other)} - {None}
        if len(digests) > 1:
            return None
        count = self.base.found.images
        first, second = (round(_top1(score) * count) for score in (self.base, self.other))
        return 100 * (second - first) / count if count else None


class Reader:
    """Reads the answers of each run once."""

    def __init__(self) -> None:
        self._read = functools.cache(answers.read)

    def compare(self, pair: Pair) -> Accuracy:
        """Compare two runs that have scores; PipelineError as `answers.read` has it."""
        base, other = pair.base.score, pair.other.score
        assert base is not None
        assert other is not None
        progress.detail(f"{other.file} beside {base.file}: {other.dumps} beside {base.dumps}")
        for score in (base, other):
            if not (score.dumps and score.labels):
                return Accuracy(pair, base, other, None, _lacking(score))
        found = self._read(*_places(base)), self._read(*_places(other))
        rows = common_rows(found[0].images, found[1].images)
        if not len(rows[0]):
            why = f"{base.dumps} and {other.dumps} have no image in common"
            return Accuracy(pair, base, other, None, why)
        matched = _match(found, rows, (_places(base)[0], _places(other)[0]))
        return Accuracy(pair, base, other, matched, "")


def common_rows(
    base: Sequence[str], other: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of the images in both, in the order of the base."""
    there = {image: row for row, image in enumerate(other)}
    pairs = [(row, there[image]) for row, image in enumerate(base) if image in there]
    rows = np.array(pairs, np.intp).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _match(
    found: tuple[Answers, Answers],
    rows: tuple[NDArray[np.intp], NDArray[np.intp]],
    dumps: tuple[Path, Path],
) -> Matched:
    base, other = found
    count = len(rows[0])
    ranks = base.ranks[rows[0]], other.ranks[rows[1]]
    labels = base.labels[rows[0]], other.labels[rows[1]]
    changes = []
    for top in range(1, result.top_entries(min(base.classes, other.classes)) + 1):
        was, now = ranks[0] < top, ranks[1] < top
        won, lost = _count(~was & now), _count(was & ~now)
        changes.append(Change(count, _count(was), _count(now), won, lost))
    sqnr, why = None, f"{base.classes} and {other.classes} outputs"
    if base.classes == other.classes:
        sqnr, why = _sqnr_db(dumps, rows, labels[0], count)
    return Matched(
        images=count,
        left_out=(len(base.images) - count, len(other.images) - count),
        relabelled=_count(labels[0] != labels[1]),
        changes=tuple(changes),
        same=_count(base.best[rows[0], 0] == other.best[rows[1], 0]),
        sqnr_db=sqnr,
        without_sqnr=why,
        flips=tuple(_flips(base, other, rows)),
    )


def _flips(
    base: Answers, other: Answers, rows: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> Iterator[Flip]:
    """Yield the images with two answers: by kind, the most confident new answers first."""
    differing = np.flatnonzero(base.best[rows[0], 0] != other.best[rows[1], 0])
    right = base.right, other.right
    flips = []
    for first, second in zip(rows[0][differing].tolist(), rows[1][differing].tolist(), strict=True):
        was, now = bool(right[0][first]), bool(right[1][second])
        flips.append(
            Flip(
                image=base.images[first],
                kind=_KIND[was, now],
                label=int(base.labels[first]),
                base_answer=int(base.best[first, 0]),
                base_share=float(base.shares[first, 0]),
                other_answer=int(other.best[second, 0]),
                other_share=float(other.shares[second, 0]),
            )
        )
    return iter(sorted(flips, key=_order))


def _order(flip: Flip) -> tuple[int, float, str]:
    share = flip.other_share
    return KINDS.index(flip.kind), -share if share == share else 1.0, flip.image


def _sqnr_db(
    dumps: tuple[Path, Path],
    rows: tuple[NDArray[np.intp], NDArray[np.intp]],
    labels: NDArray[np.intp],
    count: int,
) -> tuple[float | None, str]:
    """Return the ratio over all outputs of the images in common, or None and why there is none."""
    base, other = map(dump_folder.find, dumps)
    tally = judge.Tally()
    with progress.track("compare the outputs", count, "images") as update:
        for start, stop in _stretches(rows):
            spans = [(int(own[start]), int(own[start]) + stop - start) for own in rows]
            both = zip(base.blocks(*spans[0]), other.blocks(*spans[1]), strict=True)
            for one, two in both:
                done = tally.pictures
                judge.add(tally, one.scores, two.scores, labels[done : done + len(one.scores)])
            update(tally.pictures)
    ratio = judge.Judgement("", tally, True, 0.0, False).sqnr_db
    return (ratio, "") if ratio == ratio else (None, "an output is not finite")


def _stretches(rows: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Iterator[tuple[int, int]]:
    """Yield the stretches in which rows of both sides follow each other."""
    breaks = np.flatnonzero((np.diff(rows[0]) != 1) | (np.diff(rows[1]) != 1)) + 1
    yield from itertools.pairwise([0, *breaks.tolist(), len(rows[0])])


def _places(score: Score) -> tuple[Path, Path]:
    assert score.dumps is not None
    assert score.labels is not None
    return score.dumps, score.labels


def _lacking(score: Score) -> str:
    """Say why a score cannot be looked into."""
    if not score.made:
        return (
            f"{score.file} has no record that names its dumps; score them with "
            "vision_metric_ImageNet.py"
        )
    what = "dumps" if not score.dumps else "labels"
    return f"the {what} that {score.file} was made of are gone or others now; score anew"


def _labels_digest(score: Score) -> str | None:
    return chain.field(score.made, str, "inputs", 1, "sha256")


def _top1(score: Score) -> float:
    """Return the fraction, from the record where that has more digits than the result file."""
    shown = score.found.percentages[0] / 100
    exact = chain.field(score.made, float, "details", "top", 0)
    return exact if exact is not None and abs(exact - shown) < 1e-4 else shown


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))
