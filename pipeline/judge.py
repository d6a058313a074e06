"""Is a reduced precision to be trusted? Its answers beside those of fp32, on held-out pictures.

    agreement  share of the pictures for which both have the same Top1 class
    SQNR       10 log10( sum r^2 / sum (r - c)^2 ) dB, over all logits r of the reference and c of
               the candidate, of all pictures: the signal to quantisation noise ratio
    change     Top1 of the candidate less Top1 of the reference, in points of percent, where there
               are labels. Its 95 % interval is that of matched pairs, with half a picture added to
               each of the four cells (Agresti and Min, "Simple improved confidence intervals for
               comparing matched proportions", Statistics in Medicine 24, 2005)

A class's rank is that of `pipeline.scoring`. Trusted is what agrees in at least 97 %, has at least
15 dB, and loses at most one point of Top1 (or what the user allows), on at least 300 pictures. On a
trained network and photographs, 8 bits with one scale per channel reach 98 % and 18 dB, and one
scale per tensor or ranges from noise 75 to 92 % and 6 to 13 dB: the limits lie between.

On a network that was never trained the figures tell nothing of a trained one: its answers to
different pictures are nearly the same, so agreement is low for a recipe that is good, and the SQNR
is high for one that is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import prepared, progress, scoring, untrained
from pipeline.dump_folder import Block
from pipeline.engines import Session
from pipeline.errors import PipelineError
from pipeline.imagenet.labels import read_labels
from pipeline.prepared import Picture

LEAST_AGREEMENT = 0.97
LEAST_SQNR_DB = 15.0
LEAST_PICTURES = 300
MOST_DROP = 1.0  # points

_Z_95 = 1.959963984540054  # the 97.5 % point of the standard normal distribution
_TOPS = (1, 5)


@dataclass
class Tally:
    """Sums over pictures; `hits` are Top1 and Top5, `lost` and `won` the changed Top1 answers."""

    pictures: int = 0
    same: int = 0
    signal: float = 0.0
    noise: float = 0.0
    reference_hits: list[int] = field(default_factory=lambda: [0] * len(_TOPS))
    candidate_hits: list[int] = field(default_factory=lambda: [0] * len(_TOPS))
    lost: int = 0
    won: int = 0


@dataclass(frozen=True)
class Judgement:
    """What the comparison came to; `outcome` is trusted, refused, too few or untrained."""

    name: str  # of the candidate: "int8", "bf16"
    tally: Tally
    labelled: bool
    max_drop: float
    untrained: bool

    @property
    def agreement(self) -> float:
        """Share of pictures with the same Top1 class."""
        return self.tally.same / self.tally.pictures

    @property
    def sqnr_db(self) -> float:
        """Signal to quantisation noise ratio of the logits; infinite where they are equal."""
        if not self.tally.noise:
            return math.inf
        ratio = self.tally.signal / self.tally.noise
        return 10 * math.log10(ratio) if ratio else -math.inf

    @property
    def change(self) -> float:
        """Change of Top1 in points."""
        return 100 * (self.tally.won - self.tally.lost) / self.tally.pictures

    @property
    def change_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the change, in points."""
        return paired_interval(self.tally.won, self.tally.lost, self.tally.pictures)

    @property
    def outcome(self) -> str:
        """Say what may be concluded."""
        if self.untrained:
            return "untrained"
        if self.tally.pictures < LEAST_PICTURES:
            return "too few"
        return "refused" if self.failings() else "trusted"

    @property
    def trusted(self) -> bool:
        """Say whether the candidate may stand in for the reference."""
        return self.outcome == "trusted"

    def failings(self) -> list[str]:
        """Return what is beyond its limit."""
        found = []
        # Written so that a NaN fails.
        if not self.agreement >= LEAST_AGREEMENT:
            found.append(f"agreement below {LEAST_AGREEMENT:.0%}")
        if not self.sqnr_db >= LEAST_SQNR_DB:
            found.append(f"SQNR below {LEAST_SQNR_DB:.0f} dB")
        if self.labelled and not -self.change <= self.max_drop:
            found.append(f"Top1 falls by more than {self.max_drop:g} points")
        return found

    def __str__(self) -> str:
        if self.outcome == "untrained":
            return f"{self.name} is not judged, {untrained.SAYING} ({self.figures()})"
        if self.outcome == "too few":
            return f"{too_few(self.tally.pictures)} ({self.figures()})"
        if self.outcome == "trusted":
            return f"{self.name} holds: {self.figures()}"
        return (
            f"{self.name} is not to be trusted, {' and '.join(self.failings())}: {self.figures()}"
        )

    def figures(self) -> str:
        """Return all figures in one line."""
        same = f"agreement {self.agreement:.2%}, SQNR {self.sqnr_db:.1f} dB"
        if not self.labelled:
            top5 = self.tally.candidate_hits[1] / self.tally.pictures
            return (
                f"{same}, fp32's answer in its Top5 {top5:.2%}, Top1 unknown without labels, "
                f"{self.tally.pictures} pictures"
            )
        (one, five), (own_one, own_five) = (
            [hits / self.tally.pictures for hits in found]
            for found in (self.tally.reference_hits, self.tally.candidate_hits)
        )
        low, high = self.change_interval
        return (
            f"Top1 {own_one:.2%} (fp32 {one:.2%}, {self.change:+.2f} points, 95 % {low:+.2f} to "
            f"{high:+.2f}), Top5 {own_five:.2%} (fp32 {five:.2%}), {same}, "
            f"{self.tally.pictures} pictures"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures and their limits for a record; TopN are fractions."""
        count = self.tally.pictures
        found: dict[str, Any] = {
            "candidate": self.name,
            "outcome": self.outcome,
            "pictures": count,
            "agreement": self.agreement,
            "sqnr_db": self.sqnr_db if math.isfinite(self.sqnr_db) else str(self.sqnr_db),
            "labels_are": "the label file's" if self.labelled else "the reference's Top1",
            "limits": {
                "least_agreement": LEAST_AGREEMENT,
                "least_sqnr_db": LEAST_SQNR_DB,
                "least_pictures": LEAST_PICTURES,
                "most_drop_points": self.max_drop,
            },
        }
        for side, hits in (
            ("reference", self.tally.reference_hits),
            ("candidate", self.tally.candidate_hits),
        ):
            found |= {f"{side}_top{n}": hit / count for n, hit in zip(_TOPS, hits, strict=True)}
        if self.labelled:
            low, high = self.change_interval
            found |= {"change_points": self.change, "change_95_points": [low, high]}
            found |= {"top1_won": self.tally.won, "top1_lost": self.tally.lost}
        return found


def too_few(pictures: int) -> str:
    """Say that so many pictures cannot decide."""
    return f"too few to judge: {pictures} of {LEAST_PICTURES} held-out pictures"


def judge(
    reference: Session,
    candidate: Session,
    batch_size: int,
    pictures: Sequence[Picture],
    labels_file: Path | None,
    name: str,
    max_drop: float = MOST_DROP,
    trained: bool = True,
) -> Judgement:
    """Compare two models loaded for `batch_size`, which take the same input, picture by picture.

    Their first outputs `(N, classes)` are the logits. Without labels the reference's Top1 is taken
    for the label. Raises PipelineError where inputs or outputs differ in shape, a picture has no
    label, or the reference answers NaN or infinity.
    """
    layout = prepared.layout_of(reference.inputs[0])
    if prepared.layout_of(candidate.inputs[0]) != layout:
        raise PipelineError(
            "the two models take different inputs", "give two forms of the same network"
        )
    labels = None if labels_file is None else read_labels(labels_file)
    tally = Tally()
    with progress.track(f"judging {name}", len(pictures), "pictures") as done:
        for first in range(0, len(pictures), batch_size):
            paths = [picture.path for picture in pictures[first : first + batch_size]]
            values = np.stack([prepared.read(path, layout) for path in paths])
            expected = _logits(reference, values, batch_size)
            found = _logits(candidate, values, batch_size)
            if not np.isfinite(expected).all():
                raise PipelineError(
                    f"the fp32 model answers NaN or infinity between {paths[0]} and {paths[-1]}",
                    "nothing can be judged by it",
                )
            places = list(map(str, paths))
            block = Block(places.__getitem__, list(map(prepared.name_of, paths)), expected)
            classes = (
                expected.argmax(axis=1)
                if labels is None or labels_file is None
                else scoring.classes_of(block, labels, labels_file)
            )
            add(tally, expected, found, classes)
            done(tally.pictures)
    return Judgement(name, tally, labels is not None, max_drop, not trained)


def add(
    tally: Tally,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    classes: NDArray[np.intp],
) -> None:
    """Add the logits `(N, classes)` of reference and candidate for pictures of known class."""
    if expected.shape != found.shape:
        raise PipelineError(
            f"the two models answer in different shapes, {expected.shape} and {found.shape}",
            "give two forms of the same network",
        )
    signal = expected.astype(np.float64)
    tally.pictures += len(expected)
    tally.signal += float(np.square(signal).sum())
    with np.errstate(invalid="ignore", over="ignore"):
        tally.noise += float(np.square(signal - found).sum())
    tally.same += int(np.count_nonzero(expected.argmax(axis=1) == found.argmax(axis=1)))
    ranks, own_ranks = scoring.ranks(expected, classes)[0], scoring.ranks(found, classes)[0]
    for place, top in enumerate(_TOPS):
        tally.reference_hits[place] += int(np.count_nonzero(ranks < top))
        tally.candidate_hits[place] += int(np.count_nonzero(own_ranks < top))
    tally.lost += int(np.count_nonzero((ranks == 0) & (own_ranks != 0)))
    tally.won += int(np.count_nonzero((ranks != 0) & (own_ranks == 0)))


def paired_interval(won: int, lost: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of 100 (won - lost) / count, in points; see the module."""
    b, c, n = won + 0.5, lost + 0.5, count + 2
    middle = (b - c) / n
    reach = _Z_95 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return 100 * (middle - reach), 100 * (middle + reach)


def _logits(session: Session, values: NDArray[Any], batch_size: int) -> NDArray[np.float32]:
    """Return the first output for `values`; a batch that they do not fill is filled with copies."""
    missing = batch_size - len(values)
    full = np.concatenate([values, values[-1:].repeat(missing, axis=0)]) if missing else values
    output = session.infer(0, full)[0]
    if output.ndim < 2 or len(output) != len(full):
        raise PipelineError(
            f"the first output of the model has the shape {output.shape}",
            "a row of logits per picture is taken",
        )
    rows: NDArray[np.float32] = output.reshape(len(output), -1)[: len(values)]
    return rows.astype(np.float32, copy=False)
