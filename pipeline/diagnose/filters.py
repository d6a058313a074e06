"""Filters that another pipeline may resize with: by the library's own call, each under its name."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from pipeline.diagnose.decoders import Pixels

Filter = Callable[[Pixels, tuple[int, int]], Pixels]  # pixels and the new (width, height)

_BILINEAR = Image.Resampling.BILINEAR


def _by_pillow(filter_name: int, gap: float | None = None) -> Filter:
    def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
        image = Image.fromarray(pixels)
        return np.asarray(image.resize(size, Image.Resampling(filter_name), reducing_gap=gap))

    return resize


def _unrounded(filter_name: int) -> Filter:
    def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
        planes = [
            np.asarray(Image.fromarray(plane).resize(size, Image.Resampling(filter_name)))
            for plane in pixels.astype(np.float32).transpose(2, 0, 1)
        ]
        return np.stack(planes, axis=2)

    return resize


def _by_opencv(number: int) -> Filter:
    return lambda pixels, size: np.asarray(cv2.resize(pixels, size, interpolation=number))


def _by_opencv_float(number: int) -> Filter:
    return lambda pixels, size: np.asarray(
        cv2.resize(pixels.astype(np.float32), size, interpolation=number)
    )


def _bilinear_of_bytes(passes: int) -> Filter:
    """Return bilinear without antialias, rounded to bytes after each pass.

    One pass is torch.nn.functional.interpolate and a round; two, the rows first, are torch's kernel
    for bytes, but for its weights of 16 bits.
    """

    def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
        found = pixels.astype(np.float32)
        sizes = [size] if passes == 1 else [(size[0], pixels.shape[0]), size]
        for one in sizes:
            found = np.floor(cv2.resize(found, one, interpolation=cv2.INTER_LINEAR) + 0.5)
        return found

    return resize


USUAL_FILTER = "Pillow's bilinear"
FILTERS: dict[str, Filter] = {
    USUAL_FILTER: _by_pillow(_BILINEAR),
    "Pillow's nearest": _by_pillow(Image.Resampling.NEAREST),
    "Pillow's bicubic": _by_pillow(Image.Resampling.BICUBIC),
    "Pillow's Lanczos": _by_pillow(Image.Resampling.LANCZOS),
    "Pillow's box": _by_pillow(Image.Resampling.BOX),
    "Pillow's Hamming": _by_pillow(Image.Resampling.HAMMING),
    "Pillow's bilinear with reducing_gap 2": _by_pillow(_BILINEAR, 2.0),
    "Pillow's bicubic with reducing_gap 2": _by_pillow(Image.Resampling.BICUBIC, 2.0),
    "OpenCV's INTER_LINEAR (no antialias)": _by_opencv(cv2.INTER_LINEAR),
    "OpenCV's INTER_NEAREST": _by_opencv(cv2.INTER_NEAREST),
    "OpenCV's INTER_CUBIC (no antialias)": _by_opencv(cv2.INTER_CUBIC),
    "OpenCV's INTER_AREA": _by_opencv(cv2.INTER_AREA),
    "OpenCV's INTER_LANCZOS4 (no antialias)": _by_opencv(cv2.INTER_LANCZOS4),
    "bilinear of floats, not rounded to 8 bits": _unrounded(_BILINEAR),
    "bicubic of floats, not rounded to 8 bits": _unrounded(Image.Resampling.BICUBIC),
    "bilinear of floats (no antialias), not rounded": _by_opencv_float(cv2.INTER_LINEAR),
    "torchvision's bilinear on bytes (no antialias)": _bilinear_of_bytes(2),
    "bilinear (no antialias), rounded once": _bilinear_of_bytes(1),
}
