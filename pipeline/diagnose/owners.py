"""Which image each file really is of: names that belong to another image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.diagnose.recipes import TURNS
from pipeline.diagnose.samples import Sample, small

_SURE = 0.9  # correlation from afar with the owner
_BETTER = 0.15  # than with the image of the same name
_SHOWN = 3


def nearest(sample: Sample, samples: Sequence[Sample], turn: str, most: int) -> list[Sample]:
    """Return the samples whose images look most like what is given for `sample`."""
    if sample.given is None:
        return []
    seen = small(TURNS[turn](sample.given.transpose(1, 2, 0)).transpose(2, 0, 1))
    return sorted(samples, key=lambda other: -abs(float(seen @ other.thumb)))[:most]


def find(samples: Sequence[Sample]) -> dict[int, int]:
    """Return {position of a file: position of the image it is of} where that is another image.

    Looked at from afar, under all turns, so that it does not matter how the file was made.
    """
    able = [place for place, sample in enumerate(samples) if sample.given is not None]
    if len(able) < 2:
        return {}
    images = np.stack([samples[place].thumb for place in able])
    best: NDArray[np.float64] | None = None
    for turn in TURNS.values():
        rows = []
        for place in able:
            given = samples[place].given
            if given is not None:
                rows.append(small(turn(given.transpose(1, 2, 0)).transpose(2, 0, 1)))
        likeness = np.abs(np.stack(rows) @ images.T)
        if best is None or likeness.max(axis=1).sum() > 1.02 * best.max(axis=1).sum():
            best = likeness
    if best is None:
        return {}
    found = {}
    for row, place in enumerate(able):
        owner = int(best[row].argmax())
        own, other = best[row, row], best[row, owner]
        if owner != row and other >= _SURE and other - own >= _BETTER:
            found[place] = able[owner]
    return found


def say(owners: dict[int, int], samples: Sequence[Sample], noun: str) -> str:
    """Say in words which `noun` belongs to which image: a shift, an exchange, or one by one."""
    names = [sample.stem for sample in samples]
    steps = Counter(owner - place for place, owner in owners.items())
    step, times = steps.most_common(1)[0]
    if times > 2 and times >= 0.8 * len(owners) and len(owners) > 0.5 * len(samples):
        where = "after" if step > 0 else "before"
        return f"each {noun} belongs to the image {abs(step)} {where} it in the order of names"
    pairs = [
        f"that of {names[place]} is of {names[owner]}"
        for place, owner in list(owners.items())[:_SHOWN]
    ]
    more = ", ..." if len(owners) > _SHOWN else ""
    plural = noun if len(owners) == 1 else f"{noun}s"
    return f"{len(owners)} {plural} under the name of another image: {', '.join(pairs)}{more}"
