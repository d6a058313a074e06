"""The file forms of the sample's pictures: plain JPEG, and the odd ones that ImageNet also has.

Every file is named `.JPEG`, whatever it holds, as ImageNet's own PNG and CMYK files are.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

Encode = Callable[[Image.Image, np.random.Generator], bytes]

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Form:
    """A way to write a picture down; `colourless` forms keep no colour."""

    name: str
    encode: Encode
    colourless: bool = False


def _save(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def _jpeg(**options: object) -> Encode:
    def encode(image: Image.Image, rng: np.random.Generator) -> bytes:
        quality = int(rng.integers(60, 85, endpoint=True))
        return _save(image, "JPEG", quality=quality, **options)

    return encode


def _jpeg_of(mode: str) -> Encode:
    return lambda image, rng: _jpeg()(image.convert(mode), rng)


def _png_of(mode: str) -> Encode:
    return lambda image, _rng: _save(image.convert(mode), "PNG")


def _file(format_name: str, **options: object) -> Encode:
    return lambda image, _rng: _save(image, format_name, **options)


def _turned_by_exif(orientation: int) -> Encode:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return _jpeg(exif=exif)


def _palette(image: Image.Image, _rng: np.random.Generator) -> bytes:
    return _save(image.quantize(64), "PNG")


def _palette_with_a_hole(image: Image.Image, _rng: np.random.Generator) -> bytes:
    return _save(image.quantize(64), "PNG", transparency=0)


def _see_through(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Return a PNG whose alpha runs from side to side; its colours are those of `image`."""
    alpha = np.linspace(0, 255, image.width).astype(np.uint8)
    clear = image.copy()
    clear.putalpha(Image.fromarray(np.tile(alpha, (image.height, 1))))
    return _save(clear, "PNG")


def _sixteen_bits(gain: int) -> Encode:
    def encode(image: Image.Image, _rng: np.random.Generator) -> bytes:
        return _save(
            Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * gain), "PNG"
        )

    return encode


def _one_pixel(image: Image.Image, rng: np.random.Generator) -> bytes:
    return _jpeg()(image.resize((1, 1), Image.Resampling.BOX), rng)


def _strip(wide: bool) -> Encode:
    """Return an encoder that keeps twelve rows, or columns, through the middle."""

    def encode(image: Image.Image, rng: np.random.Generator) -> bytes:
        width, height = image.size
        middle = (height if wide else width) // 2
        lying, standing = (0, middle - 6, width, middle + 6), (middle - 6, 0, middle + 6, height)
        return _jpeg()(image.crop(lying if wide else standing), rng)

    return encode


ORDINARY = (
    Form("jpeg 4:4:4", _jpeg(subsampling=0)),
    Form("jpeg 4:2:0", _jpeg(subsampling=2)),
    Form("jpeg 4:2:2", _jpeg(subsampling=1)),
    Form("jpeg 4:2:0 progressive", _jpeg(subsampling=2, progressive=True)),
    Form("jpeg 4:4:4 progressive", _jpeg(subsampling=0, progressive=True)),
)

ODD = (
    *[Form("jpeg grey", _jpeg_of("L"), colourless=True)] * 3,
    *[Form("jpeg cmyk", _jpeg_of("CMYK"))] * 3,
    Form("jpeg rgb without ycc", _jpeg(keep_rgb=True, subsampling=0)),
    Form("jpeg with restart markers", _jpeg(restart_marker_rows=1)),
    Form("jpeg exif orientation 3", _turned_by_exif(3)),
    Form("jpeg exif orientation 5", _turned_by_exif(5)),
    *[Form("jpeg exif orientation 6", _turned_by_exif(6))] * 2,
    *[Form("jpeg exif orientation 8", _turned_by_exif(8))] * 2,
    Form("jpeg one pixel", _one_pixel),
    Form("jpeg very wide", _strip(wide=True)),
    Form("jpeg very tall", _strip(wide=False)),
    *[Form("png rgb", _png_of("RGB"))] * 2,
    *[Form("png palette", _palette)] * 2,
    Form("png palette with a transparent colour", _palette_with_a_hole),
    *[Form("png alpha", _see_through)] * 2,
    Form("png grey", _png_of("L"), colourless=True),
    Form("png grey alpha", _png_of("LA"), colourless=True),
    Form("png one bit", _png_of("1"), colourless=True),
    # Pillow cuts 16-bit values off at 255 on the way to RGB: the first keeps its picture, the
    # second becomes white.
    Form("png 16 bits, dark", _sixteen_bits(1), colourless=True),
    Form("png 16 bits", _sixteen_bits(257), colourless=True),
    Form("webp", _file("WEBP", quality=85)),
    Form("bmp", _file("BMP")),
    Form("tiff", _file("TIFF", compression="tiff_lzw")),
    Form("gif", _file("GIF")),
)
