"""The transform as torchvision does it: what the peers run, and what every byte is compared to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.imagenet import CROP, MEAN, RESIZE, STD


def build() -> Callable[[Image.Image], Any]:
    """Return torchvision's transform: PIL image to float32 tensor (3, 224, 224)."""
    from torchvision import transforms

    transform: Callable[[Image.Image], Any] = transforms.Compose(
        [
            transforms.Resize(RESIZE),
            transforms.CenterCrop(CROP),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return transform


def open_rgb(path: Path) -> Image.Image:
    """Return the picture in RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def pixels(path: Path) -> NDArray[np.uint8]:
    """Return (224, 224, 3): what torchvision resizes and crops, before it becomes a tensor."""
    from torchvision import transforms

    crop = transforms.Compose([transforms.Resize(RESIZE), transforms.CenterCrop(CROP)])
    return np.asarray(crop(open_rgb(path)))


def output_name(path: Path) -> str:
    """Return the name of the file that a picture becomes."""
    return path.name.split(".", 1)[0] + ".bin"
