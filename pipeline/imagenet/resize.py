"""Pillow's bilinear resize of the short side, and the centre crop of it, to the last bit.

What is computed is `Image.resize((W, H), BILINEAR)` followed by a crop, as torchvision's Resize and
CenterCrop do it on a PIL image, in the classic pass order: first every row horizontally, rounded to
8 bits, then every column vertically. Pillow has kept this order up to version 12; Pillow 13 turns
it round for some tall pictures. Here it is fixed, whatever Pillow is installed.

Pillow's resampler (src/libImaging/Resample.c) weighs pixels with 22-bit fixed-point numbers that
it derives in double precision. `_weights` repeats that derivation operation for operation. The
weighted sums are matrix products in single precision, which run on the vector units, where
Pillow's loop does not. Each sum is rounded twice, from either end of the interval that holds the
exact one; where the two differ, which is once in some thousand values, that value is computed
again in double precision, which holds Pillow's integers below 2^31 without loss.
Only the weights of the cropped outputs are made and only the pixels under them are read, so that
a picture of 1 x 5000, which the resize proper blows up to 256 x 1,280,000, costs nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.imagenet import CROP, RESIZE

Picture = Image.Image | NDArray[np.uint8]
Indices = NDArray[np.intp]

PRECISION_BITS = 32 - 8 - 2  # of a weight, as Pillow has them
EXACT_BITS = 14  # with weights no finer than 2^-14, sums of uint8 are exact in single precision
TIE_BITS = 11  # sums with weights no finer than 2^-11 are halves, or far enough from them
ROUNDING = 2.0**-17  # at most, of one operation in single precision whose result is below 256
BLOCK = 16  # outputs per matrix product; wider blocks multiply more zeros
STRIP_VALUES = 1 << 19  # source values held as floats at a time: 2 MiB
KEPT_VALUES = 1 << 21  # scratch memory kept between pictures, per thread and buffer: 8 MiB


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
    source = _scratch.array("source", np.float32, *middle.shape)
    np.copyto(source, middle)
    sums = _scratch.array("sums", np.float32, CROP, 3 * CROP)
    for block in down.blocks:
        part = source[block.first : block.last]
        np.matmul(block.weights, part, out=sums[block.start : block.stop])
    for output in down.coarse:
        sums[output] += down.lift

    def inputs(near: Indices) -> tuple[Indices, NDArray[np.uint8]]:
        output, column = np.divmod(near, 3 * CROP)
        return output, middle[down.inputs[output], column[:, None]]

    rows = np.empty((CROP, 3 * CROP), np.uint8)
    _round(sums, down, inputs, rows)
    return rows.reshape(CROP, 3, CROP)


@dataclass(frozen=True)
class _Block:
    """Outputs start..stop of an axis, made of its inputs first..last by one matrix."""

    start: int
    stop: int
    first: int  # counted from the axis's own `first`
    last: int
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class _Axis:
    """All that one pass needs: the inputs it reads, first..last, and its blocks.

    `inputs` and `weights`, (224, most inputs of any output), have the same once more for single
    outputs; `inputs` counts from `first`. `exact` tells that single precision loses nothing.

    Where that is not so of all outputs, `coarse` has those of which it is, and which may be halves
    for many pixels: between two equal weights, as in the middle of an axis, half of the sums are.
    With `lift` added, a half lies as far above itself as needs no second look, and no other sum of
    theirs, which is 2^-11 below a half at least, reaches that.
    """

    first: int
    last: int
    blocks: tuple[_Block, ...]
    inputs: Indices
    weights: NDArray[np.float64]
    exact: bool
    coarse: tuple[int, ...]

    @property
    def margin(self) -> float:
        """How far a sum may be from the exact one: each input is multiplied once and added once.

        One operation more is the shift by the margin itself.
        """
        return _margin(self.inputs.shape[1])

    @property
    def lift(self) -> float:
        """What is more than the margin after two operations: the lift itself, and the shift."""
        return 2 * self.margin


class _Scratch(threading.local):
    """Buffers that live from picture to picture; fresh memory costs a page fault every 4 KiB."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[Any]] = {}

    def array(self, name: str, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
        """Return an uninitialised array, the thread's own until the next call for `name`."""
        size = math.prod(shape)
        if size > KEPT_VALUES:
            return np.empty(shape, dtype)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, dtype)
        return self._kept[name][:size].reshape(shape)


_scratch = _Scratch()


def _horizontal(picture: Picture, across: _Axis, top: int, bottom: int) -> NDArray[np.uint8]:
    """Return rows top..bottom after the horizontal pass: uint8 (rows, 3 x 224)."""
    columns = across.last - across.first
    middle = _scratch.array("middle", np.uint8, bottom - top, 3 * CROP)
    step = max(BLOCK, STRIP_VALUES // (3 * columns))
    for row in range(top, bottom, step):
        end = min(row + step, bottom)
        planes = _scratch.array("planes", np.uint8, 3, end - row, columns)
        cv2.split(_cut(picture, across.first, row, across.last, end), list(planes))
        _horizontal_strip(planes, across, middle[row - top : end - top])
    return middle


def _horizontal_strip(planes: NDArray[np.uint8], across: _Axis, out: NDArray[np.uint8]) -> None:
    rows = len(out)
    strip = _scratch.array("strip", np.float32, *planes.shape)
    np.copyto(strip, planes)
    sums = _scratch.array("across", np.float32, rows, 3, CROP)
    by_channel = sums.transpose(1, 0, 2)
    for block in across.blocks:
        np.matmul(
            strip[:, :, block.first : block.last],
            block.weights,
            out=by_channel[:, :, block.start : block.stop],
        )
    for output in across.coarse:
        sums[:, :, output] += across.lift

    def inputs(near: Indices) -> tuple[Indices, NDArray[np.uint8]]:
        rest, output = np.divmod(near, CROP)
        row, channel = np.divmod(rest, 3)
        return output, planes[channel[:, None], row[:, None], across.inputs[output]]

    _round(sums.reshape(rows, 3 * CROP), across, inputs, out)


def _round(
    sums: NDArray[np.float32],
    axis: _Axis,
    inputs: Callable[[Indices], tuple[Indices, NDArray[np.uint8]]],
    out: NDArray[np.uint8],
) -> None:
    """Write the exact sums to `out`, rounded, halves up. OpenCV rounds to the nearest, even halves.

    `inputs` maps flat indices of values to their outputs on `axis` and to the pixels they are of.
    """
    if axis.exact:  # the shift leaves no half, and is too small to carry another value over one
        cv2.convertScaleAbs(sums, dst=out, beta=2.0 ** -(EXACT_BITS + 1))
        return
    high = _scratch.array("high", np.uint8, *sums.shape)
    cv2.convertScaleAbs(sums, dst=high, beta=axis.margin)
    cv2.convertScaleAbs(sums, dst=out, beta=-axis.margin)
    near = _differing(out.reshape(-1), high.reshape(-1))
    if near.size:
        output, pixels = inputs(near)
        exact = np.einsum("ij,ij->i", pixels, axis.weights[output])
        out.reshape(-1)[near] = np.floor(exact + 0.5)


def _differing(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Indices:
    """Return where two flat arrays of a multiple of 8 values differ, which is in few places."""
    words = np.flatnonzero(one.view(np.uint64) != other.view(np.uint64))
    candidates = (8 * words[:, None] + np.arange(8)).reshape(-1)
    places: Indices = candidates[one[candidates] != other[candidates]]
    return places


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
        matrix = np.zeros((stop - start, high - low), np.float32)
        columns = starts[start:stop, None] - low + np.arange(reach)
        matrix[np.arange(stop - start)[:, None], columns] = weights[start:stop]
        matrix = matrix[:, : min(high, size) - low]
        matrix = np.ascontiguousarray(matrix if output_first else matrix.T)
        blocks.append(_Block(start, stop, low - first, min(high, size) - first, matrix))
    inputs = np.minimum(starts[:, None] + np.arange(reach), size - 1) - first
    exact = bool(_are_multiples(weights, EXACT_BITS).all())
    coarse: tuple[int, ...] = ()
    if not exact and 3 * _margin(reach) + 2 * ROUNDING < 2.0**-TIE_BITS:
        coarse = tuple(np.flatnonzero(_are_multiples(weights, TIE_BITS)).tolist())
    return _Axis(first, last, tuple(blocks), inputs, weights, exact, coarse)


def _margin(taps: int) -> float:
    return (2 * taps + 2) * ROUNDING


def _are_multiples(weights: NDArray[np.float64], bits: int) -> NDArray[np.bool_]:
    """Say of each output whether its weights are multiples of 2^-bits."""
    scaled = weights * (1 << bits)
    found: NDArray[np.bool_] = (scaled == np.trunc(scaled)).all(axis=1)
    return found


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
