"""What goes into a session and comes out of it."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class dtype(IntEnum):
    """Element types, with ACL's numbers; named as NumPy names them."""

    float32 = 0
    float16 = 1
    int8 = 2
    int32 = 3
    uint8 = 4
    int16 = 6
    uint16 = 7
    uint32 = 8
    int64 = 9
    uint64 = 10
    float64 = 11
    bool = 12


class tensor_desc:
    """One input or output: `format` is 0 for NCHW and 1 for NHWC, sizes are in bytes."""

    def __init__(self) -> None:
        self.name = ""
        self.datatype = dtype.float32
        self.format = 0
        self.shape: list[int] = []
        self.size = 0
        self.realsize = 0


class BaseTensor:
    """An address in this process and a number of bytes; whoever made it keeps them alive."""

    def __init__(self, buf: int, size: int) -> None:
        self.buf = buf
        self.size = size

    def content(self) -> bytes:
        """Return a copy of the bytes."""
        return ctypes.string_at(self.buf, self.size)


class Tensor:
    """An array on the host or on a device; on a device it cannot be read."""

    def __init__(self, array: NDArray[Any], device: int | None = None) -> None:
        self._array = np.ascontiguousarray(array)
        self._device = device

    @property
    def shape(self) -> list[int]:
        """The dimensions."""
        return list(self._array.shape)

    def to_device(self, device: int) -> None:
        """Move it to a device."""
        self._device = device

    def to_host(self) -> None:
        """Move it to the host."""
        self._device = None

    def content(self) -> bytes:
        """Return the bytes, wherever they are."""
        return self._array.tobytes()

    def __array__(self, kind: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self._device is not None:
            raise RuntimeError(f"tensor is on device {self._device}, not on the host")
        return np.array(self._array, dtype=kind)
