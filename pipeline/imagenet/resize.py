"""Pillow's bilinear resize of the short side, and the centre crop of it, to the last bit.

What is computed is `Image.resize((W, H), BILINEAR)` followed by a crop, as torchvision's Resize and
CenterCrop do it on a PIL image, in the classic pass order: first every row horizontally, rounded to
8 bits, then every column vertically. Pillow has kept this order up to version 12; Pillow 13 turns
it round for some tall pictures. Here it is fixed, whatever Pillow is installed.

Pillow's resampler (src/libImaging/Resample.c) weighs pixels with 22-bit fixed-point numbers that
it derives in double precision. `_weights` repeats that derivation operation for operation. The
weighted sums themselves are integers below 2^31, so a matrix product in double precision gives
them exactly, in any order of summation; it runs on the vector units, where Pillow's loop does not.
Only the weights of the cropped outputs are made and only the pixels under them are read, so that
a picture of 1 x 5000, which the resize proper blows up to 256 x 1,280,000, costs nothing.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.imagenet import CROP, RESIZE

Picture = Image.Image | NDArray[np.uint8]

PRECISION_BITS = 32 - 8 - 2  # of a weight, as Pillow has them
BLOCK = 16  # outputs per matrix product; wider blocks multiply more zeros
STRIP_VALUES = 1 << 19  # source values held as doubles at a time: 4 MiB
KEPT_VALUES = 1 << 21  # scratch memory kept between pictures, per thread and buffer: 16 MiB


def resized_size(width: int, height: int) -> tuple[int, int]:
    """Return (width, height) after Resize(256): short side 256, long side rounded down.

    Source: torchvision.transforms.functional, `int(size * long / short)`.
    """
    if width <= height:
        return RESIZE, int(RESIZE * height / width)
    return int(RESIZE * width / height), RESIZE


def crop_offset(size: int) -> int:
    """Return where CenterCrop(224) begins on an axis of `size`; halves round to even.

    Source: torchvision.transforms.functional, `int(round((size - crop) / 2.0))`.
    """
    return round((size - CROP) / 2.0)


def resize_and_crop(picture: Picture) -> NDArray[np.uint8]:
    """Return the resized centre of an RGB picture as uint8 (224 rows, 3 channels, 224 columns).

    `picture` is a PIL image in mode RGB or a uint8 array (height, width, 3). The channels come as
    planes side by side in each row, because that is how the products leave them.
    """
    width, height = _size(picture)
    new_width, new_height = resized_size(width, height)
    across = _axis(width, new_width, crop_offset(new_width), False)
    down = _axis(height, new_height, crop_offset(new_height), True)
    middle = _horizontal(picture, across, down.first, down.last)
    rows = _scratch.array("rows", CROP, 3 * CROP)
    for block in down.blocks:
        source = middle[block.first : block.last]
        np.matmul(block.weights, source, out=rows[block.start : block.stop])
    rows += 0.5
    return rows.astype(np.uint8).reshape(CROP, 3, CROP)


@dataclass(frozen=True)
class _Block:
    """Outputs start..stop of an axis, made of its inputs first..last by one matrix."""

    start: int
    stop: int
    first: int  # counted from the axis's own `first`
    last: int
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class _Axis:
    """All that one pass needs: the inputs it reads, first..last, and its blocks."""

    first: int
    last: int
    blocks: tuple[_Block, ...]


class _Scratch(threading.local):
    """Buffers that live from picture to picture; fresh memory costs a page fault every 4 KiB."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.float64]] = {}

    def array(self, name: str, *shape: int) -> NDArray[np.float64]:
        """Return an uninitialised array of doubles, the thread's own until the next call."""
        size = math.prod(shape)
        if size > KEPT_VALUES:
            return np.empty(shape, np.float64)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, np.float64)
        return self._kept[name][:size].reshape(shape)


_scratch = _Scratch()


def _horizontal(picture: Picture, across: _Axis, top: int, bottom: int) -> NDArray[np.float64]:
    """Return rows top..bottom after the horizontal pass: whole numbers, (rows, 3 x 224)."""
    columns = across.last - across.first
    middle = _scratch.array("middle", bottom - top, 3, CROP)
    step = max(BLOCK, STRIP_VALUES // (3 * columns))
    for row in range(top, bottom, step):
        end = min(row + step, bottom)
        strip = _scratch.array("strip", 3, end - row, columns)
        pixels = _cut(picture, across.first, row, across.last, end)
        np.copyto(strip, pixels.transpose(2, 0, 1))
        for block in across.blocks:
            for channel in range(3):
                np.matmul(
                    strip[channel, :, block.first : block.last],
                    block.weights,
                    out=middle[row - top : end - top, channel, block.start : block.stop],
                )
    middle += 0.5
    np.floor(middle, out=middle)
    return middle.reshape(bottom - top, 3 * CROP)


def _size(picture: Picture) -> tuple[int, int]:
    if isinstance(picture, Image.Image):
        if picture.mode != "RGB":
            raise ValueError(f"the picture's mode is {picture.mode}, not RGB")
        return picture.size
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"the picture is {picture.dtype} {picture.shape}, not uint8 (h, w, 3)")
    return picture.shape[1], picture.shape[0]


def _cut(picture: Picture, left: int, top: int, right: int, bottom: int) -> NDArray[np.uint8]:
    if isinstance(picture, Image.Image):
        return np.asarray(picture.crop((left, top, right, bottom)))
    return picture[top:bottom, left:right]


@lru_cache(maxsize=64)
def _axis(size: int, resized: int, offset: int, output_first: bool) -> _Axis:
    """Return the pass from `size` pixels to 224 of `resized`, beginning at output `offset`.

    The matrices are (outputs, inputs) with `output_first` and (inputs, outputs) without.
    """
    starts, weights = _weights(size, resized, offset)
    reach = weights.shape[1]
    blocks = []
    first = int(starts.min())
    last = min(int(starts.max()) + reach, size)
    for start in range(0, CROP, BLOCK):
        stop = min(start + BLOCK, CROP)
        low = int(starts[start:stop].min())
        high = int(starts[start:stop].max()) + reach
        matrix = np.zeros((stop - start, high - low))
        columns = starts[start:stop, None] - low + np.arange(reach)
        matrix[np.arange(stop - start)[:, None], columns] = weights[start:stop]
        matrix = matrix[:, : min(high, size) - low]
        matrix = np.ascontiguousarray(matrix if output_first else matrix.T)
        blocks.append(_Block(start, stop, low - first, min(high, size) - first, matrix))
    return _Axis(first, last, tuple(blocks))


def _weights(size: int, resized: int, offset: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each output's first input, (224,), and its weights, (224, most inputs of any).

    A weight is a whole number of 2^-22. Source: `precompute_coeffs` and `normalize_coeffs_8bpc`
    in Pillow's Resample.c, whose order of operations is kept, since each one rounds.
    """
    scale = size / resized
    support = max(scale, 1.0)  # the bilinear filter reaches one output pixel to either side
    inverse = 1.0 / support
    centre = (np.arange(offset, offset + CROP) + 0.5) * scale
    starts = np.maximum(np.trunc(centre - support + 0.5).astype(np.int64), 0)
    stops = np.minimum(np.trunc(centre + support + 0.5).astype(np.int64), size)
    reach = int((stops - starts).max())
    inputs = starts[:, None] + np.arange(reach)
    weights = 1.0 - np.abs((inputs - centre[:, None] + 0.5) * inverse)
    weights[(weights < 0.0) | (inputs >= stops[:, None])] = 0.0
    total = np.zeros(CROP)
    for column in range(reach):  # one after the other: NumPy's own sum adds in another order
        total += weights[:, column]
    weights /= total[:, None]
    fixed = np.trunc(0.5 + weights * (1 << PRECISION_BITS))
    return starts, fixed / (1 << PRECISION_BITS)
