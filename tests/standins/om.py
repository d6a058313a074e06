"""The stand-ins' own om file: no om of Huawei's, whose layout is not public.

`IMOD`, a line that says what it is, one line of JSON, the ONNX model with its batch fixed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = b"IMOD\nSTAND-IN OM\n"


class OmError(Exception):
    """The file is no om of the stand-ins."""


@dataclass(frozen=True)
class Tensor:
    """One input or output as the om's user sees it: uint8 NHWC where AIPP takes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole tensor."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Description:
    """What the converter was asked for: `aipp` has the file's fields, None where there is none."""

    soc_version: str
    batch: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    precision_mode: str
    aipp: dict[str, Any] | None


def write(path: Path, description: Description, model: bytes) -> None:
    """Write an om file."""
    path.write_bytes(MAGIC + json.dumps(asdict(description)).encode() + b"\n" + model)


def read(path: Path) -> tuple[Description, bytes]:
    """Return what `write` wrote; OmError for any other file, OSError where there is none."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise OmError(f"{path} is no stand-in om")
    head, _, model = data[len(MAGIC) :].partition(b"\n")
    fields = json.loads(head)
    for side in ("inputs", "outputs"):
        fields[side] = tuple(
            Tensor(tensor["name"], tensor["dtype"], tuple(tensor["shape"]))
            for tensor in fields[side]
        )
    return Description(**fields), model
