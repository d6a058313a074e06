"""How a model may want its pixels: the reference's way, and those of models that normalise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.diagnose.stored import CHW, Form
from pipeline.imagenet import MEAN, STD

Pixels = NDArray[np.uint8]  # (N, 224, 224, 3)
Feed = Callable[[Pixels], NDArray[Any]]


def _scaled(scale: float, mean: Sequence[float], std: Sequence[float], order: int) -> Feed:
    def feed(pixels: Pixels) -> NDArray[Any]:
        values = pixels[..., ::order].astype(np.float32) * np.float32(scale)
        return (values - np.array(mean, np.float32)) / np.array(std, np.float32)

    return feed


def normalised(pixels: Pixels) -> NDArray[Any]:
    """Return pixels as the network was trained on them: float32 (N, 224, 224, 3)."""
    return (pixels.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(
        STD, np.float32
    )


_NO, _UNIT = (0.0,) * 3, (1.0,) * 3
FLOAT_FEEDS: dict[str, Feed] = {
    "normalised RGB": normalised,
    "RGB pixels from 0 to 255": _scaled(1, _NO, _UNIT, 1),
    "RGB pixels from 0 to 1": _scaled(1 / 255, _NO, _UNIT, 1),
    "RGB pixels from -1 to 1": _scaled(2 / 255, _UNIT, _UNIT, 1),
    "normalised BGR": lambda pixels: normalised(pixels)[..., ::-1],
    "BGR with the mean and std of RGB": _scaled(1 / 255, MEAN, STD, -1),
    "BGR pixels from 0 to 255": _scaled(1, _NO, _UNIT, -1),
    "BGR pixels from 0 to 1": _scaled(1 / 255, _NO, _UNIT, -1),
    "BGR pixels from -1 to 1": _scaled(2 / 255, _UNIT, _UNIT, -1),
}
PIXEL_FEEDS: dict[str, Feed] = {
    "RGB pixels from 0 to 255": lambda pixels: pixels,
    "BGR pixels from 0 to 255": lambda pixels: pixels[..., ::-1],
}


def of(form: Form) -> Mapping[str, Feed]:
    """Return how a model of that input may want its pixels, the reference's way first."""
    table = PIXEL_FEEDS if form.dtype == np.uint8 else FLOAT_FEEDS

    def laid_out(feed: Feed) -> Feed:
        def lay(pixels: Pixels) -> NDArray[Any]:
            values = feed(pixels)
            planes = values.transpose(0, 3, 1, 2) if form.layout == CHW else values
            return np.ascontiguousarray(planes, dtype=form.dtype)

        return lay

    return {name: laid_out(feed) for name, feed in table.items()}
