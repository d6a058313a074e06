"""Pictures drawn by rule: a class is a palette and a texture, everything else is chance.

Lengths are in units of a picture's short side, so that a class looks the same at every size once
the transform has resized it. Only the grain and the weave are as fine as the original's pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]
Colour = tuple[float, float, float]
Texture = Callable[[Field, Field, np.random.Generator], Field]

COLOURLESS = "slate"
# Dark and light end of each palette, RGB in 0..1. The first four are two pairs that turn into each
# other when red and blue are swapped, so that the order of the channels decides between classes.
PALETTES: dict[str, tuple[Colour, Colour]] = {
    "ember": ((0.30, 0.10, 0.06), (0.92, 0.58, 0.22)),
    "ocean": ((0.06, 0.10, 0.30), (0.22, 0.58, 0.92)),
    "leaf": ((0.34, 0.38, 0.10), (0.70, 0.88, 0.36)),
    "mint": ((0.10, 0.38, 0.34), (0.36, 0.88, 0.70)),
    COLOURLESS: ((0.24, 0.24, 0.25), (0.74, 0.74, 0.73)),
}

SMALL = (150, 250)  # short side, pixels: enlarged by the transform
LARGE = (360, 410)  # shrunk by it, far enough for a weave to all but vanish
LONGEST_ASPECT = 1.5


@dataclass(frozen=True)
class Kind:
    """One class of the sample."""

    label: int
    palette: str
    texture: str


def kinds(classes: int) -> list[Kind]:
    """Return every combination of palette and texture, its labels spread over `0..classes-1`."""
    pairs = [(palette, texture) for palette in PALETTES for texture in TEXTURES]
    labels = np.linspace(0, classes - 1, len(pairs)).round()
    return [Kind(int(label), *pair) for label, pair in zip(labels, pairs, strict=True)]


def draw(kind: Kind, rng: np.random.Generator, large: bool = False) -> Image.Image:
    """Return one RGB picture of the class; only a large one has a weave."""
    short = int(rng.integers(*(LARGE if large else SMALL), endpoint=True))
    long = round(short * rng.uniform(1, LONGEST_ASPECT))
    width, height = (long, short) if rng.random() < 0.6 else (short, long)
    y, x = np.indices((height, width), dtype=np.float32) / np.float32(short)
    pattern = TEXTURES[kind.texture](x, y, rng) * np.float32(rng.uniform(0.45, 1.0))
    dark, light = (np.array(end) for end in PALETTES[kind.palette])
    cast = rng.normal(1, 0.10, 3)
    middle = ((dark + light) / 2 * cast + rng.normal(0, 0.04)).astype(np.float32)
    half = ((light - dark) / 2 * cast).astype(np.float32)
    picture = middle + half * pattern[..., None]
    slope = rng.normal(0, 0.10, 2).astype(np.float32)
    picture *= (1 + slope[0] * (x - x.mean()) + slope[1] * (y - y.mean()))[..., None]
    _lay_boxes(picture, rng)
    if large:
        picture += _weave(x, y, rng)[..., None]
    grain = rng.standard_normal((height, width, 1), dtype=np.float32)
    picture += grain * np.float32(rng.uniform(0.01, 0.03))
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def _waves(x: Field, y: Field, cycles: float, radians: float, rng: np.random.Generator) -> Field:
    """Return a sine of so many cycles per short side, in -1..1, at a phase that `rng` chooses."""
    frequency = 2 * np.pi * cycles
    across = x * np.float32(np.cos(radians)) + y * np.float32(np.sin(radians))
    waves: Field = np.sin(np.float32(frequency) * across + np.float32(rng.uniform(0, 2 * np.pi)))
    return waves


def _grating(cycles: float, degrees: float) -> Texture:
    def texture(x: Field, y: Field, rng: np.random.Generator) -> Field:
        radians = float(np.deg2rad(degrees + rng.normal(0, 6)))
        return _waves(x, y, cycles * rng.uniform(0.85, 1.18), radians, rng)

    return texture


def _dots(cycles: float) -> Texture:
    one, other = _grating(cycles, 0), _grating(cycles, 90)

    def texture(x: Field, y: Field, rng: np.random.Generator) -> Field:
        spots: Field = np.tanh(6 * (one(x, y, rng) + other(x, y, rng) - np.float32(1.1)))
        return spots

    return texture


def _clouds(cells: int) -> Texture:
    def texture(x: Field, y: Field, rng: np.random.Generator) -> Field:
        height, width = x.shape
        short = min(height, width)
        coarse = (round(cells * height / short) + 1, round(cells * width / short) + 1)
        values = rng.normal(0, 1.3, coarse).astype(np.float32)
        smooth = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
        clouds: Field = np.tanh(np.asarray(smooth))
        return clouds

    return texture


# Each has a mirror image or a quarter turn among the others, or is finer than its neighbour.
TEXTURES: dict[str, Texture] = {
    "level": _grating(10, 90),
    "upright": _grating(10, 0),
    "rising": _grating(26, 45),
    "falling": _grating(26, 135),
    "dots": _dots(14),
    "clouds": _clouds(7),
}


def _lay_boxes(picture: Field, rng: np.random.Generator) -> None:
    """Lay up to three boxes of any colour over `picture`."""
    height, width, _ = picture.shape
    short = min(height, width)
    for _ in range(rng.integers(0, 4)):
        tall, broad = (rng.uniform(0.08, 0.28, 2) * short).astype(int)
        top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - broad))
        picture[top : top + tall, left : left + broad] = rng.uniform(0, 1, 3).astype(np.float32)


def _weave(x: Field, y: Field, rng: np.random.Generator) -> Field:
    """Return lines just within what the pixels can carry, as a scanned cloth or print has them.

    A resize that filters takes them away; one that does not turns them into coarser lines that
    are not in the picture. So the sample tells the two apart.
    """
    cycles = min(x.shape) * rng.uniform(0.44, 0.49)
    radians = float(rng.choice([0, np.pi / 2]))
    return _waves(x, y, cycles, radians, rng) * np.float32(rng.uniform(0.15, 0.28))
