"""What rounds of a measurement come to: median, spread, ratios from pairs of one round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of the values of `rounds` rounds."""

    median: float
    least: float
    greatest: float
    rounds: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they stand in a result file."""
        return {
            "median": self.median,
            "min": self.least,
            "max": self.greatest,
            "rounds": self.rounds,
        }


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of `values`; ValueError where there is none."""
    if not values:
        raise ValueError("no round was measured")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratios(
    values: Sequence[float | None], base: Sequence[float | None], better: str = "more"
) -> list[float]:
    """Return how many times better `values` are than `base`, round by round.

    Rounds pair by their position; a round that either side lacks (None) has no ratio. `better`
    says which way is up: `more` (a rate) or `less` (a time, a size).
    """
    if better not in ("more", "less"):
        raise ValueError(f"better is {better!r}, not more or less")
    pairs = [
        (mine, other)
        for mine, other in zip(values, base, strict=True)
        if mine is not None and other is not None
    ]
    return [mine / other if better == "more" else other / mine for mine, other in pairs]


def signal_to_noise_db(reference: Any, values: Any) -> float:
    """Return 10 log10(signal / error power) of `values` against `reference`, two arrays.

    Infinite where they are equal.
    """
    import numpy as np

    signal = np.square(np.asarray(reference, np.float64)).sum()
    noise = np.square(np.asarray(values, np.float64) - reference).sum()
    return float(10 * np.log10(signal / noise)) if noise > 0 else float("inf")


def greatest_relative_difference(reference: Any, values: Any) -> float:
    """Return max |values - reference| / max |reference| of two arrays of one shape."""
    import numpy as np

    wide = np.asarray(reference, np.float64)
    return float(np.abs(np.asarray(values, np.float64) - wide).max() / np.abs(wide).max())
