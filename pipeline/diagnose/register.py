"""Where in the whole picture a given crop comes from: sizes and offsets that no table has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.diagnose import fit
from pipeline.diagnose.filters import FILTERS, USUAL_FILTER
from pipeline.diagnose.recipes import ANCHORS, TURNS, Recipe, Size
from pipeline.diagnose.samples import Sample

_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-7)
_BLUR = 5  # pixels
_LEAST = 0.6  # correlation of what has been laid on each other
_LARGEST = 2000  # pixels of the picture that the crop is looked for in


@dataclass(frozen=True)
class _Place:
    """Size of the whole picture in the crop's pixels, and where the crop begins in it."""

    width: float
    height: float
    left: float
    top: float
    source: tuple[int, int]


def recipes(near: Recipe, samples: Sequence[Sample]) -> Iterator[Recipe]:
    """Yield recipes with sizes and offsets as measured, beside `near`, which is roughly right."""
    places = [place for sample in samples if (place := _measure(near, sample))]
    if not places:
        return
    side = near.side
    plain = near.with_(filter=USUAL_FILTER, across="centre", down="centre", offset=(0, 0))
    for size in _sizes(places):
        moved = np.median([_offset(place, size, side) for place in places], axis=0)
        right, below = (round(float(value)) for value in moved)
        for anchor in ("centre", "centre, rounded down"):
            for dx, dy in itertools.product((0, 1, -1), repeat=2):
                moved_by = (right + dx, below + dy)
                yield plain.with_(size=size, offset=moved_by, across=anchor, down=anchor)
    corner = np.median([(place.left, place.top) for place in places], axis=0)
    if np.abs(corner).max() > 0:
        for size in _sizes(places)[:3]:
            left, top = (round(float(value)) for value in corner)
            yield plain.with_(size=size, across="start", down="start", offset=(left, top))


def _sizes(places: Sequence[_Place]) -> list[Size]:
    """Return the rules that give the measured sizes, the likeliest first."""
    stretched = [abs(np.log(p.width / p.height * p.source[1] / p.source[0])) for p in places]
    found: list[Size] = []
    if np.median(stretched) < 0.02:
        short = round(float(np.median([min(p.width, p.height) for p in places])))
        found += [Size("short", n) for n in (short, short - 1, short + 1)]
    else:
        square = round(float(np.median([np.sqrt(p.width * p.height) for p in places])))
        found += [Size("square", n) for n in (square, square - 1, square + 1)]
    return [size for size in found if size.length > 0]


def _offset(place: _Place, size: Size, side: int) -> tuple[float, float]:
    width, height = size.of(*place.source)
    centre = ANCHORS["centre"]
    # The measured corner, in the pixels of this size.
    left = (place.left + 0.5) * width / place.width - 0.5
    top = (place.top + 0.5) * height / place.height - 0.5
    return left - centre(width, side), top - centre(height, side)


def _measure(near: Recipe, sample: Sample) -> _Place | None:
    """Lay a given picture on the whole one; None where that does not converge."""
    pixels = sample.kitchen.decoded(near.decoder)
    if pixels is None or sample.given is None:
        return None
    height, width = pixels.shape[:2]
    new = near.size.of(width, height)
    if max(new) > _LARGEST:
        return None
    whole = _grey(FILTERS[USUAL_FILTER](pixels, new))
    crop = _grey(np.ascontiguousarray(_untwisted(sample.given.transpose(1, 2, 0), near.turn)))
    centre = ANCHORS["centre"]
    start = (centre(new[0], near.side), centre(new[1], near.side))
    warp = np.array([[1, 0, start[0]], [0, 1, start[1]]], np.float32)
    try:
        found, warp = cv2.findTransformECC(crop, whole, warp, cv2.MOTION_AFFINE, _STOP, None, _BLUR)
    except cv2.error:
        return None
    turned = max(abs(float(warp[0, 1])), abs(float(warp[1, 0])))
    across, down = float(warp[0, 0]), float(warp[1, 1])
    if found < _LEAST or turned > 0.02 or min(across, down) <= 0.1:
        return None
    left = (float(warp[0, 2]) + 0.5) / across - 0.5
    top = (float(warp[1, 2]) + 0.5) / down - 0.5
    return _Place(new[0] / across, new[1] / down, left, top, (width, height))


def _untwisted(pixels: NDArray[np.float32], turn: str) -> NDArray[np.float32]:
    """Return pixels as they were before a turn; the quarter turns are each other's reverse."""
    back = {"turned by 90 degrees": "turned by 270 degrees"}
    back |= {value: key for key, value in back.items()}
    return TURNS[back.get(turn, turn)](pixels)


def _grey(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the mean of the channels, each at mean 0 and variance 1."""
    planes = fit.planes_of(np.asarray(pixels))
    spread = planes.std(axis=1, keepdims=True)
    scaled = (planes - planes.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return np.asarray(scaled.mean(axis=0).reshape(pixels.shape[:2]), np.float32)
