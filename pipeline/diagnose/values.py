"""Names for gains and offsets: which scale, mean and standard deviation were applied.

The reference is `((x / 255) - mean) / std`. A gain g and an offset o of pixels 0 to 255 are those
of `(s x - m) / d` for each of a table of scales s and of pairs (m, d); what no pair comes near is
told by its own numbers, d = 1 / (255 g) and m = -o d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.diagnose.fit import ORDERS, Fit
from pipeline.imagenet import MEAN, STD

Triple = tuple[float, float, float]
CHANNELS = "RGB"
USUAL_SCALE = "0 to 1"
USUAL_PAIR = "ImageNet's mean and std"
NOTHING = "neither mean nor std"

SCALES: dict[str, float] = {
    USUAL_SCALE: 1 / 255,
    "0 to 255, not divided by 255": 1.0,
    "divided by 255 twice": 1 / 255**2,
    "divided by 256 instead of 255": 1 / 256,
    "-1 to 1 before mean and std": 2 / 255,
}
_ONE: Triple = (1.0, 1.0, 1.0)
_ZERO: Triple = (0.0, 0.0, 0.0)
_LEVEL: Triple = (1 / 255, 1 / 255, 1 / 255)


def _of_255(values: Sequence[float]) -> Triple:
    one, two, three = (value / 255 for value in values)
    return one, two, three


PAIRS: dict[str, tuple[Triple, Triple]] = {
    USUAL_PAIR: (MEAN, STD),
    NOTHING: (_ZERO, _ONE),
    "mean 0.5 and std 0.5, as for Inception: values from -1 to 1": ((0.5,) * 3, (0.5,) * 3),
    "the mean only, no std": (MEAN, _ONE),
    "the std only, no mean": (_ZERO, STD),
    "mean 127.5 and std 128, in units of 0 to 255": (_of_255([127.5] * 3), _of_255([128] * 3)),
    "mean 128 and std 128, in units of 0 to 255": (_of_255([128] * 3), _of_255([128] * 3)),
    "mean 127 and std 128, in units of 0 to 255": (_of_255([127] * 3), _of_255([128] * 3)),
    "mean and std rounded in units of 0 to 255 (124, 116, 104; 58, 57, 57)": (
        _of_255((124, 116, 104)),
        _of_255((58, 57, 57)),
    ),
    "mean and std rounded in units of 0 to 255 (123.68, 116.28, 103.53; 58.40, 57.12, 57.38)": (
        _of_255((123.68, 116.28, 103.53)),
        _of_255((58.40, 57.12, 57.38)),
    ),
    "Caffe's mean (123.68, 116.779, 103.939) off pixels of 0 to 255, no std": (
        _of_255((123.68, 116.779, 103.939)),
        _LEVEL,
    ),
    "Caffe's mean (123, 117, 104) off pixels of 0 to 255, no std": (
        _of_255((123, 117, 104)),
        _LEVEL,
    ),
    "the mean off pixels of 0 to 255, no std": (MEAN, _LEVEL),
    "CLIP's mean and std": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
    "CIFAR-10's mean and std": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "CIFAR-10's mean and std (0.247, 0.243, 0.261)": (
        (0.4914, 0.4822, 0.4465),
        (0.247, 0.243, 0.261),
    ),
    "the same mean and std for all channels (0.45, 0.225)": ((0.45,) * 3, (0.225,) * 3),
}


@dataclass(frozen=True)
class Named:
    """What gain and offset come to: names from the tables, or the numbers themselves.

    `order` says of which colour channel's mean and std each plane got (0 is red's).
    `mean` and `std` are of pixels divided by 255, per plane as it was given.
    """

    scale: str
    pair: str
    order: tuple[int, int, int]
    mean: Triple
    std: Triple
    known: bool


def name(fit: Fit, usual_is_pixels: bool = False, slack: float = 0.0) -> Named:
    """Return the entries of the tables that give the fit's gain and offset.

    An entry does within 0.05 levels, or `slack` more where the pixels were not met exactly.
    `usual_is_pixels` prefers plain pixels among equals.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        std = 1 / (255 * fit.gain)
        mean = -fit.offset * std
    best: tuple[float, Named] | None = None
    numbers = (_triple(mean), _triple(std))
    for scale, factor in SCALES.items():
        for pair, (m, d) in PAIRS.items():
            for order in _orders(fit, m, d):
                gain = factor / np.array(d)[list(order)]
                offset = -(np.array(m) / np.array(d))[list(order)]
                away = _away(fit, gain, offset)
                # The first of equals: the tables begin with what is usual.
                if best is None or away < best[0] - 1e-4:
                    best = away, Named(scale, pair, order, *numbers, True)
    if best is not None and best[0] <= 0.05 + slack:
        return best[1]
    return Named(USUAL_SCALE, _told(mean, std), (0, 1, 2), *numbers, False)


def _orders(fit: Fit, mean: Triple, std: Triple) -> Sequence[tuple[int, int, int]]:
    """Return the orders that a triple may have been applied in, the likely ones first."""
    if len(set(mean)) == 1 and len(set(std)) == 1:
        return [(0, 1, 2)]
    first = [(0, 1, 2), fit.order]
    rest = [(o[0], o[1], o[2]) for o in ORDERS if o not in first]
    return list(dict.fromkeys([*first, *rest]))


def _away(fit: Fit, gain: NDArray[np.float64], offset: NDArray[np.float64]) -> float:
    """Return the greatest difference that other numbers make over pixels 0 to 255, in levels."""
    with np.errstate(divide="ignore", invalid="ignore"):
        at_black = (fit.offset - offset) / np.abs(gain)
        at_white = at_black + 255 * (fit.gain - gain) / np.abs(gain)
        away = np.maximum(np.abs(at_black), np.abs(at_white)).max()
    return float(away) if np.isfinite(away) else np.inf


def _triple(values: NDArray[np.float64]) -> Triple:
    one, two, three = (float(value) for value in values)
    return one, two, three


def _told(mean: NDArray[np.float64], std: NDArray[np.float64]) -> str:
    means, stds = (" ".join(f"{value:.4g}" for value in values) for values in (mean, std))
    return f"mean {means} and std {stds}"


def channels(order: tuple[int, int, int]) -> str:
    """Return an order of channels by their letters, as in BGR."""
    return "".join(CHANNELS[place] for place in order)
