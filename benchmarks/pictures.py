"""Photo-sized JPEGs, made on the spot: as costly to decode as ImageNet's, and the same every time.

The grey values have the amplitude spectrum of natural images, 1/f (Field, "Relations between the
statistics of natural images and the response properties of cortical cells", 1987), colour has a
fifth of their contrast, and quality and noise are chosen so that an average file has about 470x400
pixels and 110 KB, as the ImageNet validation set has.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import progress

_FIELD = 2048
_SEED = 1987
# (width, height) and share: the common sizes of ImageNet's photos.
_SIZES = (
    ((500, 375), 0.52),
    ((375, 500), 0.15),
    ((500, 333), 0.14),
    ((333, 500), 0.06),
    ((500, 500), 0.10),
    ((320, 240), 0.03),
)
_GREY_SHARE = 0.02
_SUBSAMPLED_SHARE = 0.25  # 4:2:0; the others are 4:4:4
_QUALITIES = (80, 93)
_PIL_444, _PIL_420 = 0, 2


def make_photos(folder: Path, count: int, unique: int | None = None) -> list[Path]:
    """Fill `folder` with `count` JPEGs and return their paths, sorted.

    Of these the first `unique` (default: all) differ, the others are hard links to them in turn.
    The same arguments give the same bytes with the same Pillow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    different = min(count, unique or count)
    paths = [folder / f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, count + 1)]
    fields = _natural_fields(np.random.default_rng(_SEED))
    with progress.track("make pictures", different, "pictures") as update:
        for number, path in enumerate(paths[:different]):
            path.write_bytes(_photo(fields, np.random.default_rng((_SEED, number))))
            update(number + 1)
    for number, path in enumerate(paths[different:], different):
        path.hardlink_to(paths[number % different])
    return paths


def _natural_fields(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return three square fields, (3, side, side), of mean 0 and deviation 1."""
    across = np.fft.rfftfreq(_FIELD)
    down = np.fft.fftfreq(_FIELD)[:, None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    fields = np.empty((3, _FIELD, _FIELD), np.float32)
    for field in fields:
        white = np.fft.rfft2(rng.standard_normal((_FIELD, _FIELD)))
        values = np.fft.irfft2(white / frequency, s=field.shape)
        field[:] = values / values.std()
    return fields


def _photo(fields: NDArray[np.float32], rng: np.random.Generator) -> bytes:
    """Return one JPEG: a window of the fields in colours, contrast and quality of its own."""
    sizes, shares = zip(*_SIZES, strict=True)
    width, height = sizes[rng.choice(len(sizes), p=shares)]
    left, top = rng.integers(0, _FIELD - width), rng.integers(0, _FIELD - height)
    window = fields[:, top : top + height, left : left + width]
    luma = rng.uniform(90, 150) + rng.uniform(35, 65) * window[0]
    planes = [
        luma + rng.uniform(5, 15) * window[1 + place % 2] * side
        for place, side in enumerate((1, 1, -1))
    ]
    grain = rng.uniform(3, 6) * rng.standard_normal((height, width), np.float32)
    pixels = np.stack([plane + grain for plane in planes], axis=-1)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")
    if rng.random() < _GREY_SHARE:
        image = image.convert("L")
    subsampling = _PIL_420 if rng.random() < _SUBSAMPLED_SHARE else _PIL_444
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(*_QUALITIES)), subsampling=subsampling)
    return file.getvalue()
