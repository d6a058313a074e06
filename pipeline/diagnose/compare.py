"""How far apart two tensors are, in the measures of the reports."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """Of a candidate from its reference; NaN counts as infinitely far."""

    absolute: float
    relative: float  # by the greatest magnitude of the reference
    sqnr_db: float
    mean: float  # absolute, of all values

    def __str__(self) -> str:
        return (
            f"max abs {self.absolute:.2g}, relative {self.relative:.2g}, SQNR {self.sqnr_db:.1f} dB"
        )

    def figures(self) -> dict[str, Any]:
        """Return the figures for a report; infinity is `inf` in quotes, which JSON lacks."""
        found = {"absolute": self.absolute, "relative": self.relative, "sqnr_db": self.sqnr_db}
        return {k: v if math.isfinite(v) else str(v) for k, v in found.items()}


def difference(expected: NDArray[Any], found: NDArray[Any]) -> Difference:
    """Return the difference of two arrays of one shape; infinite where the shapes differ."""
    if expected.shape != found.shape:
        return Difference(math.inf, math.inf, -math.inf, math.inf)
    signal = expected.astype(np.float64)
    with np.errstate(all="ignore"):
        away = np.abs(signal - found)
        away[np.isnan(away)] = math.inf
        power, noise = float(np.square(signal).sum()), float(np.square(away).sum())
    most, greatest = float(away.max(initial=0)), float(np.abs(signal).max(initial=0))
    if not noise:
        sqnr = math.inf
    else:
        sqnr = 10 * math.log10(power / noise) if power and math.isfinite(noise) else -math.inf
    return Difference(most, most / greatest if greatest else most, sqnr, float(away.mean()))
