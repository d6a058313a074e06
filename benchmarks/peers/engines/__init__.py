"""Engines as somebody would use them directly, one file each, imported in a process of its own.

Each module has `PACKAGES`, what it needs installed, and `open_model`. `convert`, where a module has
it, makes the engine's own model files once, in another process, so that what it takes to convert
does not count as the engine's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True)
class Models:
    """One network in the forms that engines take; engines' own files go into `folder`."""

    folder: Path
    arch: str = "vovnet39"

    @property
    def checkpoint(self) -> Path:
        """The PyTorch checkpoint."""
        return self.folder / "network.pth"

    @property
    def onnx(self) -> Path:
        """The fp32 ONNX model with a free batch size."""
        return self.folder / "network.onnx"

    @property
    def int8(self) -> Path:
        """The quantised ONNX model."""
        return self.folder / "network_int8.onnx"

    @property
    def inputs(self) -> Path:
        """Prepared pictures, float32 (N, 3, 224, 224), `.npy`."""
        return self.folder / "inputs.npy"

    @property
    def reference(self) -> Path:
        """What torch in fp32 makes of them, `.npy`."""
        return self.folder / "reference.npy"


@dataclass(frozen=True)
class Wish:
    """How a model is to be opened; `option` is the module's own."""

    precision: str
    batch: int
    threads: int
    option: str = ""


class Opened(Protocol):
    """A model ready to run; `streams` inferences may be in flight, one thread each."""

    streams: int
    version: str

    def infer(self, stream: int, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the logits of one batch, float32."""


class Unavailable(Exception):
    """The engine cannot do this here; the text says why."""
