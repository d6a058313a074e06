"""How given values follow from pixels: which channel each plane is of, its gain and its offset.

`given[c] = gain[c] * pixels[order[c]] + offset[c]`, by least squares over all pixels of one or
several pictures. Whatever scale, mean and standard deviation were applied, they are in these
numbers, whether a table has them or not.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float64]  # (3, n)
ORDERS = tuple(itertools.permutations(range(3)))
NO_FIT = float("inf")


@dataclass(frozen=True)
class Moments:
    """Sums over the pixels of pictures: what least squares need, and nothing else."""

    count: float
    given: NDArray[np.float64]  # (3,)
    pixels: NDArray[np.float64]  # (3,)
    given_given: NDArray[np.float64]  # (3,)
    pixels_pixels: NDArray[np.float64]  # (3,)
    products: NDArray[np.float64]  # (3, 3): given by pixels

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.given + other.given,
            self.pixels + other.pixels,
            self.given_given + other.given_given,
            self.pixels_pixels + other.pixels_pixels,
            self.products + other.products,
        )


@dataclass(frozen=True)
class Fit:
    """The best relation; `rms` is what it leaves, in levels of pixels."""

    order: tuple[int, int, int]
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    rms: float
    decisive: bool  # another order of the channels would be clearly worse

    def left(self, given: NDArray[np.float32], pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Return what it leaves of given (3, side, side) values, in levels, as absolutes."""
        source = planes_of(pixels)[list(self.order)]
        wanted = self.gain[:, None] * source + self.offset[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = np.abs(given.reshape(3, -1) - wanted) / np.abs(self.gain)[:, None]
        return np.nan_to_num(rest, nan=NO_FIT)


def planes_of(pixels: NDArray[Any]) -> Planes:
    """Return (side, side, 3) pixels as (3, side * side)."""
    return pixels.transpose(2, 0, 1).reshape(3, -1).astype(np.float64)


def moments(given: NDArray[np.float32], pixels: NDArray[Any]) -> Moments:
    """Return the sums of one picture: given values (3, side, side), pixels (side, side, 3)."""
    flat, source = given.reshape(3, -1).astype(np.float64), planes_of(pixels)
    return Moments(
        flat.shape[1],
        flat.sum(axis=1),
        source.sum(axis=1),
        np.square(flat).sum(axis=1),
        np.square(source).sum(axis=1),
        flat @ source.T,
    )


def solve(sums: Moments) -> Fit | None:
    """Return the best relation, or None where the pixels, or the values, are constant."""
    n = sums.count
    covariance = sums.products / n - np.outer(sums.given, sums.pixels) / n**2
    spread = sums.pixels_pixels / n - np.square(sums.pixels / n)
    power = sums.given_given / n - np.square(sums.given / n)
    if spread.min() < 1e-3 or power.min() <= 0:
        return None
    gains = covariance / spread
    # What is left of each plane, as a share of its own power, for each channel it may be of.
    left = np.maximum(power[:, None] - np.square(covariance) / spread, 0) / power[:, None]
    totals = [sum(left[c, order[c]] for c in range(3)) for order in ORDERS]
    ranked = sorted(range(len(ORDERS)), key=totals.__getitem__)
    order = ORDERS[ranked[0]]
    # Channels of a grey picture are the same, and any order does: the usual one is taken.
    if totals[0] <= totals[ranked[0]] * 1.0001 + 1e-9:
        order = ORDERS[0]
    second = min(total for o, total in zip(ORDERS, totals, strict=True) if o != order)
    gain = np.array([gains[c, order[c]] for c in range(3)])
    offset = sums.given / n - gain * sums.pixels[list(order)] / n
    rest = np.array([left[c, order[c]] * power[c] for c in range(3)])
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.sqrt(rest) / np.abs(gain)
    rms = float(levels.mean()) if np.isfinite(levels).all() else NO_FIT
    best = totals[ORDERS.index(order)]
    return Fit((order[0], order[1], order[2]), gain, offset, rms, second > 1.5 * best + 1e-6)


def together(parts: Sequence[Moments]) -> Moments:
    """Return the sums over several pictures."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
