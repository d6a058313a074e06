"""Prepared pictures as a set: spread evenly, told from noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline import prepared
from pipeline.errors import PipelineError
from pipeline.imagenet.transform import crop_pixels, normalise
from pipeline.prepared import Layout
from pipeline.sample.draw import draw, kinds

PIXELS = Layout((224, 224, 3), np.dtype(np.uint8))
TENSOR = Layout((3, 224, 224), np.dtype(np.float32))


def test_every_beginning_of_the_spread_is_spread_evenly() -> None:
    for count in (0, 1, 2, 63, 64, 1000):
        order = list(prepared.spread(count))
        assert sorted(order) == list(range(count))
        for taken in (8, 32):
            if count >= 4 * taken:
                gaps = np.diff(sorted(order[:taken]))
                assert gaps.max() <= 2 * count / taken


def noise_picture(kind: str, rng: np.random.Generator) -> NDArray[Any]:
    """Return a `(3, 224, 224)` tensor or `(224, 224, 3)` pixels without any picture in it."""
    if kind == "gaussian tensor":
        return rng.standard_normal((3, 224, 224), dtype=np.float32)
    if kind == "uniform tensor":
        return rng.random((3, 224, 224), dtype=np.float32)
    high, wide = {"photo-sized": (375, 500), "as large": (256, 256), "small": (128, 160)}[kind]
    return crop_pixels(Image.fromarray(rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)))


@pytest.mark.parametrize(
    "kind", ["gaussian tensor", "uniform tensor", "photo-sized", "as large", "small"]
)
def test_noise_looks_like_noise_even_after_a_resize(kind: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(5):
        picture = noise_picture(kind, rng)
        layout = PIXELS if picture.dtype == np.uint8 else TENSOR
        assert prepared.is_noise_like(picture, layout)


def test_the_kinds_of_the_sample_are_taken_as_a_set_though_some_are_fine_textures() -> None:
    rng = np.random.default_rng(8)
    verdicts = []
    for kind in kinds(1000) * 2:
        pixels = crop_pixels(draw(kind, rng))
        verdicts.append(prepared.is_noise_like(pixels, PIXELS))
        tensor = normalise(pixels).reshape(TENSOR.shape)
        assert prepared.is_noise_like(tensor, TENSOR) == verdicts[-1]
    chosen = prepared.Selection(
        [prepared.Picture(Path("x"), str(n), noisy) for n, noisy in enumerate(verdicts)]
    )
    prepared.refuse_noise(chosen, Path("sample.info"))
    noisy = prepared.Selection([prepared.Picture(Path("x"), str(n), n % 3 == 0) for n in range(60)])
    with pytest.raises(PipelineError, match="20 of 60 tensors look like noise"):
        prepared.refuse_noise(noisy, Path("sample.info"))
