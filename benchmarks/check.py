"""What was made is looked at, every byte of it, before its time counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import machine
from pipeline.errors import PipelineError
from pipeline.imagenet import CROP, MEAN, STD

Digests = Mapping[str, str]


def digests(folder: Path, convert: Callable[[bytes], bytes] = lambda data: data) -> dict[str, str]:
    """Return file name -> SHA-256 of `convert(content)` for every file in `folder`."""

    def digest(path: Path) -> str:
        return hashlib.sha256(convert(path.read_bytes())).hexdigest()

    files = sorted(path for path in folder.iterdir() if path.is_file())
    with ThreadPoolExecutor(machine.usable_cores()) as pool:
        return dict(zip((path.name for path in files), pool.map(digest, files), strict=True))


def same(found: Digests, reference: Digests, who: str) -> None:
    """PipelineError where `found` has other names or other content than `reference`."""
    if found == reference:
        return
    absent = sorted(set(reference) - set(found))
    odd = sorted(name for name in found if found[name] != reference.get(name))
    raise PipelineError(
        f"{who}: {len(odd)} of {len(reference)} files differ from torchvision's and"
        f" {len(absent)} are missing, the first of them {(odd + absent)[0]}",
        "a design that makes something else is not measured",
    )


def normalised(data: bytes) -> bytes:
    """Return uint8 pixels (224, 224, 3) as the bytes of torchvision's float32 tensor of them.

    Each of the 256 values has an image of its own, so equal tensors mean equal pixels.
    """
    pixels = np.frombuffer(data, np.uint8)
    if pixels.size != CROP * CROP * 3:
        return b""
    values: NDArray[np.float32] = pixels.reshape(CROP, CROP, 3).astype(np.float32)
    values /= np.float32(255)
    values -= np.array(MEAN, np.float32)
    values /= np.array(STD, np.float32)
    return values.transpose(2, 0, 1).tobytes()
