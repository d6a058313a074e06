"""What another pipeline may have done to a picture: tables of sizes, filters, crops and turns.

A recipe is one entry of each, and a decoder, and a `Kitchen` carries it out on a file. Entries do
what the named library does by its own call, so that the right recipe gives the very pixels. A new
suspicion is a new entry here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.diagnose.decoders import DECODERS, RECOMPRESSED, USUAL_DECODER, Pixels
from pipeline.diagnose.filters import FILTERS, USUAL_FILTER
from pipeline.imagenet import CROP, RESIZE

MOST_PIXELS = 1 << 24  # of a resized picture; a strip of one pixel blows up beyond it


# Sizes: what the whole picture is resized to before the crop.


@dataclass(frozen=True)
class Size:
    """A rule for the size after the resize; `first` is a share cut out of the centre before it."""

    kind: str  # short, rounded, square, long, none
    length: int = 0
    first: float | None = None

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) after the resize of a picture of this size."""
        if self.kind == "none":
            return width, height
        if self.kind == "square":
            return self.length, self.length
        base = max(width, height) if self.kind == "long" else min(width, height)
        numbers = (self.length * width / base, self.length * height / base)
        whole: Callable[[float], int] = round if self.kind == "rounded" else int
        other = [max(1, whole(number)) for number in numbers]
        # The side that the rule is about is exact; dividing and multiplying might miss it.
        if (width == base) and (width <= height or self.kind == "long"):
            return self.length, other[1]
        return (other[0], self.length) if height == base else (self.length, other[1])

    def roundings(self) -> tuple[Size, Size]:
        """Return the rules of the same short side that round the long one down, and nearest."""
        return replace(self, kind="short"), replace(self, kind="rounded")

    def rounded(self) -> Size:
        """Return the rule of a short side whose long one is rounded to the nearest."""
        return replace(self, kind="rounded")

    def __str__(self) -> str:
        n = self.length
        if self.first:
            return f"the central {self.first:g} of the short side cut out and resized to {n}x{n}"
        return {
            "short": f"Resize({n})",
            "rounded": f"short side {n}, the long one rounded to the nearest",
            "square": f"Resize(({n}, {n})) (which ignores the aspect)",
            "long": f"long side {n}",
            "none": "no resize",
        }.get(self.kind, self.kind)


USUAL_SIZE = Size("short", RESIZE)
_SHORT = (224, 232, 235, 236, 240, 246, 248, 250, 252, 255, 257, 260, 272, 280, 288, 292, 299, 320)
SIZES: tuple[Size, ...] = (
    USUAL_SIZE,
    Size("rounded", RESIZE),
    *(Size("short", n) for n in (*_SHORT, 342, 350, 384, 400, 448, 512)),
    *(Size("square", n) for n in (RESIZE, CROP, *_SHORT[1:], 480)),
    *(Size("long", n) for n in (RESIZE, 224, 288, 320)),
    Size("none"),
    Size("square", CROP, 0.875),
    Size("square", CROP, 1.0),
    Size("square", RESIZE, 1.0),
)


def _cut_first(pixels: Pixels, share: float) -> Pixels:
    """Return the central square of that share of the short side."""
    height, width = pixels.shape[:2]
    side = int(min(width, height) * share)
    left, top = (width - side) // 2, (height - side) // 2
    return pixels[top : top + side, left : left + side]


# Crops: where the side x side window begins on an axis of that size.


def _half_even(size: int, side: int) -> int:
    return round((size - side) / 2.0)


ANCHORS: dict[str, Callable[[int, int], int]] = {
    "centre": _half_even,
    "centre, rounded down": lambda size, side: (size - side) // 2,
    "centre, rounded up": lambda size, side: -((side - size) // 2),
    "start": lambda size, side: 0,
    "end": lambda size, side: size - side,
}
USUAL_ANCHOR = "centre"

EXCHANGED = "with rows and columns exchanged"
# Turns of the finished picture (height, width, 3); each is its own name for the reader.
TURNS: dict[str, Callable[[Pixels], Pixels]] = {
    "": lambda pixels: pixels,
    "mirrored left to right": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1],
    "turned by 180 degrees": lambda pixels: pixels[::-1, ::-1],
    EXCHANGED: lambda pixels: pixels.transpose(1, 0, 2),
    "turned by 90 degrees": lambda pixels: np.rot90(pixels),
    "turned by 270 degrees": lambda pixels: np.rot90(pixels, 3),
    "with rows and columns exchanged and turned": lambda pixels: np.rot90(pixels, 2).transpose(
        1, 0, 2
    ),
}


@dataclass(frozen=True)
class Recipe:
    """How pixels come about; without arguments it is the reference."""

    decoder: str = USUAL_DECODER
    size: Size = USUAL_SIZE
    filter: str = USUAL_FILTER
    across: str = USUAL_ANCHOR
    down: str = USUAL_ANCHOR
    offset: tuple[int, int] = (0, 0)  # of the crop, right and down, beside its anchor
    turn: str = ""
    side: int = CROP

    @property
    def crop(self) -> str:
        """Return in words where the crop is taken."""
        if self.size.kind == "square" and self.size.length == self.side:
            return f"no crop{', ' + self.turn if self.turn else ''}"
        if (self.across, self.down) == ("start", "start"):
            place = "top left corner"
        elif (self.across, self.down) in _CORNERS:
            place = _CORNERS[self.across, self.down]
        else:
            place = self.across if self.across == self.down else f"{self.across}/{self.down}"
        right, below = self.offset
        moved = f", {right:+d} pixels across, {below:+d} down" if self.offset != (0, 0) else ""
        return f"{place}{moved}{', ' + self.turn if self.turn else ''}"

    def with_(self, **changes: Any) -> Recipe:
        """Return the recipe with some entries changed."""
        return replace(self, **changes)


_CORNERS = {
    ("start", "end"): "bottom left corner",
    ("end", "start"): "top right corner",
    ("end", "end"): "bottom right corner",
}


@dataclass
class Kitchen:
    """Carries recipes out on one file, and remembers what it decoded last."""

    data: bytes
    _decoded: dict[str, Pixels | None] = field(default_factory=dict)
    _last: tuple[object, Pixels] | None = None

    def decoded(self, decoder: str) -> Pixels | None:
        """Return the decoded picture, or None where the decoder does not take the file."""
        if decoder in self._decoded:
            return self._decoded[decoder]
        table = RECOMPRESSED if decoder in RECOMPRESSED else DECODERS
        try:
            found = table[decoder](self.data)
        except Exception:  # Pillow's and OpenCV's decoders raise whatever a file leads them to
            found = None
        # A photograph may have 100 MB: the usual one's pixels stay, and those of the last other.
        self._decoded = {k: v for k, v in self._decoded.items() if k == USUAL_DECODER}
        self._decoded[decoder] = found
        return found

    def forget(self) -> None:
        """Give the memory of pixels back."""
        self._decoded, self._last = {}, None

    def make(self, recipe: Recipe) -> Pixels | None:
        """Return (side, side, 3) pixels by `recipe`, or None where it does not apply."""
        pixels = self.decoded(recipe.decoder)
        if pixels is None:
            return None
        if recipe.size.first is not None:
            pixels = _cut_first(pixels, recipe.size.first)
        height, width = pixels.shape[:2]
        new = recipe.size.of(width, height)
        if not pixels.size or math.prod(new) > MOST_PIXELS:
            return None
        resized = pixels if new == (width, height) else self._resized(recipe, pixels, new)
        return TURNS[recipe.turn](_cropped(resized, recipe))

    def _resized(self, recipe: Recipe, pixels: Pixels, new: tuple[int, int]) -> Pixels:
        """Resize; recipes that differ in crop or turn only, share the last result."""
        key = recipe.decoder, recipe.size, recipe.filter
        if self._last is None or self._last[0] != key:
            self._last = key, FILTERS[recipe.filter](pixels, new)
        return self._last[1]


def _cropped(pixels: Pixels, recipe: Recipe) -> Pixels:
    """Return the window; what lies outside of the picture is 0, as torchvision pads it."""
    side = recipe.side
    height, width = pixels.shape[:2]
    left = ANCHORS[recipe.across](width, side) + recipe.offset[0]
    top = ANCHORS[recipe.down](height, side) + recipe.offset[1]
    if 0 <= left <= width - side and 0 <= top <= height - side:
        return pixels[top : top + side, left : left + side]
    window = np.zeros((side, side, 3), pixels.dtype)
    rows, columns = slice(max(0, top), top + side), slice(max(0, left), left + side)
    part = pixels[rows, columns] if top + side > 0 and left + side > 0 else pixels[:0, :0]
    at = (max(0, -top), max(0, -left))
    window[at[0] : at[0] + part.shape[0], at[1] : at[1] + part.shape[1]] = part
    return window
