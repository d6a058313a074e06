"""Dumps of another run against the model's own answers: what was done to them, and whose they are.

For some images the answers are computed; each is then looked for among all dumps. That tells both
what the values went through and which dump lies under the name of another image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import judge
from pipeline.diagnose import orders
from pipeline.diagnose.dumped import MOST_ROWS, Dumped, decimals
from pipeline.diagnose.findings import DIFFERS, EXPLAINED, SAME, Step, some

VALUES, ORDER = "dump values", "dump order"
FIRST, LAST, SPREAD = 16, 12, 8  # images whose answers are computed
_EXACT_DB = 70.0  # a relative 3e-4 of the spread: fp32, whatever the order of its sums
_CLEAR_DB = 6.0  # by which another dump must be nearer than the image's own
_RERUN = "write each answer as the model gives it, in float32, under the name of its input"

Array = NDArray[Any]
Rows = NDArray[np.float64]


# What may have been done to logits before they were written; each gives rows of the same images.


def _softmax(rows: Rows) -> Rows:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sigmoid(rows: Rows) -> Rows:
    return np.asarray(1 / (1 + np.exp(-rows)))


def _sorted(rows: Rows) -> Rows:
    return -np.sort(-rows, axis=1)


_NONE = ""
TRANSFORMS: Mapping[str, tuple[Callable[[Rows], Rows], str]] = {
    _NONE: (lambda rows: rows, ""),
    "softmax was applied": (_softmax, "dump the logits: leave softmax to who reads them"),
    "log-softmax was applied": (
        lambda rows: np.log(_softmax(rows)),
        "dump the logits: leave log-softmax to who reads them",
    ),
    "sigmoid was applied": (_sigmoid, "dump the logits: leave the sigmoid to who reads them"),
    "the classes are one too high (a class before the first)": (
        lambda rows: np.roll(rows, 1, axis=1),
        "count the outputs from 0: output k is class k",
    ),
    "the classes are one too low (the first is missing)": (
        lambda rows: np.roll(rows, -1, axis=1),
        "count the outputs from 0: output k is class k",
    ),
    "the classes are in reverse order": (lambda rows: rows[:, ::-1], "keep the model's order"),
    "the values are sorted": (_sorted, "dump the values in the order of the classes"),
    "the values have the other sign": (lambda rows: -rows, "dump the logits themselves"),
}


@dataclass(frozen=True)
class Match:
    """How computed answers stand to dumps: for each the nearest row, its SQNR, and its own row's.

    `own` is -1 where there is no dump of that name.
    """

    transform: str
    source: str  # of the inputs that the answers were computed from
    nearest: NDArray[np.intp]
    own: NDArray[np.intp]
    nearest_db: NDArray[np.float64]
    own_db: NDArray[np.float64]
    background: bool  # the dumps have one class more, the first

    @property
    def median_db(self) -> float:
        """The median over the images of the nearest dump's SQNR."""
        return float(np.median(self.nearest_db))

    @property
    def moved(self) -> NDArray[np.bool_]:
        """For each image whether another dump is clearly nearer than its own."""
        with np.errstate(invalid="ignore"):
            nearer = self.nearest_db > self.own_db + _CLEAR_DB
        good = self.nearest_db >= judge.LEAST_SQNR_DB
        return np.asarray((self.nearest != self.own) & nearer & good)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """For each image whether no dump is like its answer."""
        return np.asarray(self.nearest_db < judge.LEAST_SQNR_DB)


def match(dumped: Dumped, names: Sequence[str], logits: Mapping[str, Array]) -> Match | None:
    """Return the best match of computed answers, by the source of their inputs, with the dumps.

    None where the dumps have another number of classes, which no transform makes.
    """
    found: Match | None = None
    place = {name: row for row, name in enumerate(dumped.images)}
    own = np.array([place.get(name, -1) for name in names], np.intp)
    rows = dumped.rows.astype(np.float64)
    for source, answers in logits.items():
        wide = answers.astype(np.float64)
        background = rows.shape[1] == wide.shape[1] + 1
        if not background and rows.shape[1] != wide.shape[1]:
            continue
        given = rows[:, 1:] if background else rows
        for name, (transform, _) in TRANSFORMS.items():
            expected = transform(wide)
            one = _nearest(name, source, expected, given, own, background)
            if found is None or one.median_db > found.median_db + 1:
                found = one
    return found


def _nearest(
    name: str, source: str, expected: Rows, given: Rows, own: NDArray[np.intp], background: bool
) -> Match:
    power = np.square(expected).sum(axis=1)
    clean = np.nan_to_num(given, nan=1e30, posinf=1e30, neginf=-1e30)
    far = power[:, None] + np.square(clean).sum(axis=1)[None] - 2 * expected @ clean.T
    nearest = far.argmin(axis=1)
    picked = [_sqnr(row, clean[place]) for row, place in zip(expected, nearest, strict=True)]
    owned = [
        _sqnr(row, clean[place]) if place >= 0 else -np.inf
        for row, place in zip(expected, own, strict=True)
    ]
    return Match(name, source, nearest, own, np.array(picked), np.array(owned), background)


def _sqnr(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    noise = float(np.square(expected - found).sum())
    power = float(np.square(expected).sum())
    if not noise:
        return 200.0
    return max(-200.0, 10 * float(np.log10(power / noise))) if power else -200.0


def examine(
    dumped: Dumped, names: Sequence[str], listed: Sequence[str], found: Match | None, first: str
) -> list[Step]:
    """Return the steps of the dumps: their values, and whose they are.

    `names` are the images that answers were computed for, `listed` all images in the order of the
    run, `first` the source of inputs that the dumps should come from.
    """
    counts = _counts(dumped, listed)
    if found is None or found.median_db < judge.LEAST_SQNR_DB:
        said = "the dumps are not the answers of this model to these inputs"
        if found is None:
            said = f"the dumps have {dumped.classes} values each, and the model another number"
        detail = f"the nearest dump has {found.median_db:.1f} dB" if found else said
        advice = "run the model again on these .bin files; were the dumps left by another model?"
        return [
            Step(VALUES, DIFFERS, "", detail, said, advice),
            _order_step(counts, "", "", len(names)),
        ]
    moved = found.moved
    pairs = [
        (dumped.images[found.nearest[row]], names[row]) for row in np.flatnonzero(moved).tolist()
    ]
    lost = [names[row] for row in np.flatnonzero(found.lost & (found.own >= 0)).tolist()]
    said = orders.say(pairs, listed) if pairs else ""
    return [
        _values_step(dumped, names, found, first),
        _order_step(counts, said, _lost(lost, listed), len(names)),
    ]


def _values_step(dumped: Dumped, names: Sequence[str], found: Match, first: str) -> Step:
    """Say what the values went through, and how exact they are."""
    level = f"SQNR {found.median_db:.1f} dB"
    problems: list[tuple[str, str]] = []
    if found.transform:
        problems.append((found.transform, TRANSFORMS[found.transform][1]))
    if found.source != first:
        problems.append(
            (
                f"they are the answers to {found.source}, not to {first}",
                "run the model on the .bin files that are given here, or give those that it ran on",
            )
        )
    digits = decimals(dumped.rows[found.nearest])
    if digits is not None and found.median_db < _EXACT_DB:
        problems.append(
            (f"they are cut to {digits} decimals", "write them with %.9g, which keeps float32")
        )
    figures = {"sqnr_db": found.median_db, "images": len(names)}
    if problems:
        said = f"the dumps are not the model's logits: {'; '.join(text for text, _ in problems)}"
        return Step(VALUES, EXPLAINED, level, said, said, problems[0][1], figures)
    exact = found.median_db >= _EXACT_DB
    detail = "the model's logits" if exact else _precision(dumped.rows[found.nearest])
    if dumped.raw:
        detail += f", stored as {dumped.raw}"
    if found.background:
        detail += ", with a background class before the first, which the scorer knows"
    return Step(VALUES, SAME, level, f"{detail}, of {found.source}", figures=figures)


def _precision(rows: NDArray[np.float32]) -> str:
    if np.array_equal(rows, rows.astype(np.float16).astype(np.float32)):
        return "the model's logits in float16"
    return "the model's logits as a reduced precision computes them (bf16, fp16 or int8)"


def _counts(dumped: Dumped, listed: Sequence[str]) -> str:
    """Say which images lack a dump, or have one that is of no image; empty where all is there."""
    there = set(dumped.images)
    without = [name for name in listed if name not in there]
    extra = sorted(there - set(listed))
    words = []
    # Who ran a part only did so on purpose; who lacks a few, did not.
    if without and len(without) * 2 <= len(listed) and len(dumped.images) <= MOST_ROWS:
        words.append(f"{len(without)} images have no dump ({some(without)})")
    if len(without) == len(listed):
        words.append("no dump has the name of an image")
    elif extra:
        words.append(f"{len(extra)} dumps are of no image ({some(extra)})")
    return "; ".join(words)


def _lost(lost: Sequence[str], listed: Sequence[str]) -> str:
    if not lost:
        return ""
    places = [listed.index(name) for name in lost if name in listed]
    tail = len(listed) - min(places) if places else 0
    if places and tail <= 64 and set(range(min(places), len(listed))) <= set(places):
        return (
            f"the dumps of the last {tail} images are no answers to any of them, as where the last"
            " batch is not full"
        )
    return f"the dumps of {len(lost)} images are no answers to any of them ({some(lost)})"


def _order_step(counts: str, moved: str, lost: str, images: int) -> Step:
    problems = [text for text in (counts, moved, lost) if text]
    if not problems:
        return Step(ORDER, SAME, f"{images} images", "each dump is of its image")
    said = f"the dumps are not under the names of their images: {'; '.join(problems)}"
    if not moved and not counts:
        said = lost
    verdict = EXPLAINED if moved else DIFFERS
    return Step(ORDER, verdict, "", "; ".join(problems), said, _RERUN)
