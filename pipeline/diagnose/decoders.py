"""Decoders that another pipeline may have: by the library's own call, each under its name."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.imagenet import RESIZE, decode

Pixels = NDArray[Any]  # (height, width, 3), RGB, uint8 or float32
# The file's bytes to its pixels, or None where the entry does not apply to the file.
Decoder = Callable[[bytes], Pixels | None]


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=decode.FORMATS)


def _pillow(data: bytes) -> Pixels:
    return np.asarray(_open(data).convert("RGB"))


def _turned(data: bytes) -> Pixels:
    return np.asarray(ImageOps.exif_transpose(_open(data)).convert("RGB"))


def _converted(mode: str) -> Decoder:
    return lambda data: np.asarray(Image.merge("RGB", _bands(_open(data).convert("RGB"), mode)))


def _bands(image: Image.Image, mode: str) -> tuple[Image.Image, ...]:
    bands = image.convert(mode).split()
    return bands * 3 if len(bands) == 1 else bands


def _opencv(flags: int) -> Decoder:
    def read(data: bytes) -> Pixels | None:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if found is None:
            return None
        return np.ascontiguousarray(found[..., ::-1])

    return read


def _fast_jpeg(data: bytes) -> Pixels | None:
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=True))
    except ValueError:
        return None


def _draft(side: int | None) -> Decoder:
    """Return a decoder that has the JPEG library scale: to half, or to at least `side`."""

    def read(data: bytes) -> Pixels | None:
        image = _open(data)
        width, height = image.size
        wanted = (side, side) if side else ((width + 1) // 2, (height + 1) // 2)
        image.draft("RGB", wanted)
        return None if image.size == (width, height) else np.asarray(image.convert("RGB"))

    return read


def _on(colour: int) -> Decoder:
    """Return a decoder that lays what is transparent on a ground of that grey."""

    def read(data: bytes) -> Pixels | None:
        image = _open(data)
        if not image.has_transparency_data:
            return None
        ground = Image.new("RGBA", image.size, (colour, colour, colour, 255))
        return np.asarray(Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB"))

    return read


def _recompressed(quality: int, subsampling: int) -> Decoder:
    def read(data: bytes) -> Pixels:
        buffer = io.BytesIO()
        image = _open(data).convert("RGB")
        image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        return _pillow(buffer.getvalue())

    return read


USUAL_DECODER = "Pillow"
GREY, YCBCR, HSV = "colours taken away (grey)", "YCbCr instead of RGB", "HSV instead of RGB"
DECODERS: dict[str, Decoder] = {
    USUAL_DECODER: _pillow,
    "the rotation that EXIF asks for": _turned,
    "OpenCV": _opencv(cv2.IMREAD_COLOR),
    "OpenCV, EXIF passed over": _opencv(cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION),
    GREY: _converted("L"),
    YCBCR: _converted("YCbCr"),
    HSV: _converted("HSV"),
    "transparent parts laid on white": _on(255),
    "transparent parts laid on black": _on(0),
    "a JPEG decoder with fast DCT and plain chroma": _fast_jpeg,
    "a JPEG decoder that scales to half": _draft(None),
    "a JPEG decoder that scales to at least 256": _draft(RESIZE),
    "OpenCV, reduced to half": _opencv(cv2.IMREAD_REDUCED_COLOR_2),
}
# These two keep their own table: there are many, and they are tried last.
_SUBSAMPLINGS = {"4:2:0": 2, "4:4:4": 0}
RECOMPRESSED: dict[str, Decoder] = {
    f"JPEG compression of quality {quality}, {name}, before the resize": _recompressed(
        quality, number
    )
    for quality in (95, 90, 85, 80, 75, 70, 60, 50, 40, 30, 20, 10)
    for name, number in _SUBSAMPLINGS.items()
}
# They change the colours of every picture.
COLOURS = (GREY, YCBCR, HSV)
