"""The images that a diagnosis looks at: which of them, what kind of file each is, what is given."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import prepared
from pipeline.diagnose.decoders import Pixels
from pipeline.diagnose.recipes import Kitchen, Recipe
from pipeline.errors import PipelineError
from pipeline.imagenet import decode
from pipeline.imagenet.folder import ImageItem
from pipeline.imagenet.transform import prepare_pixels

_EXIF_ORIENTATION = 0x0112
_TALLEST = 3.0  # sides of an ordinary picture
_SMALLEST = 64  # pixels
_HUGE = 2_000_000  # pixels
_BLOCK = 32  # images in a row, so that neighbours that changed places are seen
_THUMB = 16


@dataclass
class Sample:
    """One image; `given` is what a file of another pipeline holds for it, (3, side, side)."""

    path: Path
    stem: str
    data: bytes
    kind: str
    ordinary: bool  # no odd form, in which decoders differ
    size: tuple[int, int]
    given: NDArray[np.float32] | None = None
    kitchen: Kitchen = field(init=False)

    def __post_init__(self) -> None:
        self.kitchen = Kitchen(self.data)

    @cached_property
    def reference(self) -> NDArray[np.uint8]:
        """The reference's pixels: uint8 (224, 224, 3)."""
        return prepare_pixels(self.path, self.data)

    def pixels(self, recipe: Recipe) -> Pixels | None:
        """Return what `recipe` makes of the image, or None where it does not apply."""
        return self.reference if recipe == Recipe() else self.kitchen.make(recipe)

    @cached_property
    def thumb(self) -> NDArray[np.float64]:
        """The reference from afar, as one vector of mean 0 and length 1."""
        return small(self.reference.transpose(2, 0, 1).astype(np.float64))

    @cached_property
    def contrast(self) -> float:
        """The standard deviation within the channels, in levels."""
        return float(self.reference.std(axis=(0, 1)).mean())

    @cached_property
    def colour(self) -> float:
        """How far the channels are from each other, in levels."""
        pixels = self.reference.astype(np.float64)
        return float(np.abs(pixels - pixels.mean(axis=2, keepdims=True)).mean())


def small(planes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (3, side, side) values from afar: 16x16 means of all channels, mean 0, length 1."""
    side = planes.shape[1]
    edges = np.linspace(0, side, _THUMB + 1).astype(int)[:-1]
    grey = np.nan_to_num(planes.mean(axis=0))
    fields = np.add.reduceat(np.add.reduceat(grey, edges, axis=0), edges, axis=1)
    flat: NDArray[np.float64] = fields.reshape(-1) - fields.mean()
    length = float(np.linalg.norm(flat))
    return np.asarray(flat / length) if length else flat


def choose(items: Sequence[ImageItem], limit: int) -> list[ImageItem]:
    """Return up to `limit` images in their order: the first ones in a row, the others spread."""
    if len(items) <= limit:
        return list(items)
    taken = set(range(min(_BLOCK, limit)))
    for place in prepared.spread(len(items)):
        if len(taken) >= limit:
            break
        taken.add(place)
    return [items[place] for place in sorted(taken)]


def load(item: ImageItem) -> Sample | None:
    """Return a sample, or None where the image cannot be decoded."""
    try:
        data = decode.read(item.path)
        kind, ordinary, size = _kind(data)
        sample = Sample(item.path, item.stem, data, kind, ordinary, size)
        _ = sample.reference
    except PipelineError:
        return None
    return sample


def _kind(data: bytes) -> tuple[str, bool, tuple[int, int]]:
    """Return format and mode of a picture, whether decoders agree on it, and its size."""
    try:
        with Image.open(io.BytesIO(data), formats=decode.FORMATS) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
            name = f"{image.format} {image.mode}{', rotated by EXIF' if turned else ''}"
            ordinary = image.mode == "RGB" and not turned
            return name, ordinary, image.size
    except Exception as error:  # as decode.load_pixels says
        raise PipelineError(f"it cannot be decoded: {error}") from error


def for_search(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return the samples that tell recipes apart best: ordinary, colourful, both large and small.

    A picture that shrinks tells filters with antialias from those without.
    """

    def fit(sample: Sample) -> bool:
        short, long = sorted(sample.size)
        good = sample.ordinary and short >= _SMALLEST and long <= _TALLEST * short
        return good and sample.contrast > 4

    def is_huge(sample: Sample) -> bool:
        return sample.size[0] * sample.size[1] > _HUGE

    able = [s for s in samples if s.given is not None and fit(s)] or [
        s for s in samples if s.given is not None and s.contrast > 1
    ]
    modest = [sample for sample in able if not is_huge(sample)]
    if len(modest) < most // 2:
        most = max(2, most // 2)  # each recipe costs as much as the pictures are large
    ranked = sorted(modest if len(modest) >= most // 2 else able, key=lambda s: -s.colour)
    large = [s for s in ranked if min(s.size) > 320]
    small_ones = [s for s in ranked if min(s.size) <= 320]
    # Not all of the most colourful: they may be of one class, and alike.
    picked: list[Any] = [*_thin(large, most // 2)]
    picked += _thin(small_ones, most - len(picked))
    return picked + [s for s in large if s not in picked][: most - len(picked)]


def _thin(samples: Sequence[Sample], most: int) -> list[Sample]:
    step = max(1, len(samples) // (2 * most)) if most else 1
    return list(samples[::step][:most])
