"""The evaluation transform: Resize(256), CenterCrop(224), ToTensor, Normalize, to the last bit.

The definition is torchvision's (v1 transforms on PIL images), which the published figures rest on:
values are `((x / 255) - mean) / std` in float32, each operation rounded, in that order. Of the 256
values that a pixel can have, the outcome is looked up; that is exact where multiplying by a folded
factor is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.imagenet import CROP, MEAN, STD
from pipeline.imagenet.decode import load_pixels
from pipeline.imagenet.resize import Picture, resize_and_crop

PIXELS_SHAPE = (CROP, CROP, 3)
TENSOR_SHAPE = (3, CROP, CROP)

cv2.setNumThreads(1)  # who transforms many pictures runs many of these side by side


def crop_pixels(picture: Picture) -> NDArray[np.uint8]:
    """Return the resized centre crop of an RGB picture: uint8 (224, 224, 3).

    `picture` is a PIL image in mode RGB or a uint8 array (height, width, 3).
    """
    return np.asarray(cv2.merge(_planes(resize_and_crop(picture))), np.uint8)


def normalise(
    pixels: NDArray[np.uint8], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return uint8 pixels (224, 224, 3) as normalised float32 (3, 224, 224), in `out` if given."""
    if pixels.dtype != np.uint8 or pixels.shape != PIXELS_SHAPE:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8 {PIXELS_SHAPE}")
    return _look_up(cv2.split(pixels), out)


def prepare(
    path: Path, out: NDArray[np.float32] | None = None, data: bytes | None = None
) -> NDArray[np.float32]:
    """Return the picture at `path` as normalised float32 (3, 224, 224), in `out` if given.

    `data` is the file's content, if it has been read already. Raises PipelineError where the file
    cannot be decoded; `out` is then as it was.
    """
    return _look_up(_planes(resize_and_crop(load_pixels(path, data))), out)


def prepare_pixels(path: Path, data: bytes | None = None) -> NDArray[np.uint8]:
    """Return the picture at `path` resized and cropped, not normalised: uint8 (224, 224, 3).

    `data` as in `prepare`. Raises PipelineError where the file cannot be decoded.
    """
    return crop_pixels(load_pixels(path, data))


def _planes(rows: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [rows[:, channel] for channel in range(3)]


def _tables() -> tuple[NDArray[np.float32], ...]:
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    return tuple(
        ((values - np.float32(mean)) / np.float32(std)).reshape(1, 256)
        for mean, std in zip(MEAN, STD, strict=True)
    )


TABLES = _tables()


def _look_up(
    planes: Sequence[NDArray[np.uint8]], out: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    if out is None:
        out = np.empty(TENSOR_SHAPE, np.float32)
    elif out.dtype != np.float32 or out.shape != TENSOR_SHAPE or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}, not contiguous float32 {TENSOR_SHAPE}")
    for channel, plane in enumerate(planes):
        cv2.LUT(plane, TABLES[channel], dst=out[channel])
    return out
