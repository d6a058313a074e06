"""How the bytes of prepared files are to be read, found out from the bytes themselves.

A reading is a dtype, a byte order, a layout and a side. The right one is told by two traits of
pictures: their values are of moderate size, and neighbours are alike. The wrong byte order or dtype
gives values of all sizes, the wrong layout puts strangers side by side.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.imagenet import CROP

CHW, HWC = "CHW", "HWC"
# In the order in which equals are preferred.
_DTYPES = ("<f4", "|u1", "<f2", ">f4", ">f2", "<f8", ">f8", "|i1", "<i4", "<i2", "<u2")
_NPY = b"\x93NUMPY"
_MOST = 1e5  # no pixel, normalised in whatever way, is larger
_LEAST = 1e-20  # nor smaller, but for 0
_MOST_SIDE = 1024


@dataclass(frozen=True)
class Form:
    """One way to read a file; `skip` bytes of header come first."""

    dtype: np.dtype[Any]
    layout: str
    side: int
    channels: int = 3
    skip: int = 0

    def read(self, data: bytes) -> NDArray[np.float64] | None:
        """Return the values as (3, side, side), or None where the file has another size."""
        count = self.channels * self.side**2
        if len(data) != self.skip + count * self.dtype.itemsize:
            return None
        flat = np.frombuffer(data, self.dtype, count, self.skip)
        with np.errstate(all="ignore"):
            values = flat.astype(np.float64)
        if self.layout == HWC:
            planes = values.reshape(self.side, self.side, self.channels).transpose(2, 0, 1)
        else:
            planes = values.reshape(self.channels, self.side, self.side)
        return np.broadcast_to(planes, (3, self.side, self.side))

    def __str__(self) -> str:
        shape = [str(self.channels), str(self.side), str(self.side)]
        order = shape if self.layout == CHW else [*shape[1:], shape[0]]
        return f"{name_of(self.dtype)} ({','.join(order)})"


def name_of(dtype: np.dtype[Any]) -> str:
    """Return a dtype's name, with its byte order where that is not the usual one."""
    turned = dtype.newbyteorder("<") != dtype
    return f"{dtype.newbyteorder('=').name}{', big-endian' if turned else ''}"


def standard(dtype: np.dtype[Any] | None = None) -> Form:
    """Return the form of this project's own files: float32 CHW, or uint8 HWC."""
    kind = dtype or np.dtype("<f4")
    return Form(kind, HWC if kind == np.uint8 else CHW, CROP)


def find(contents: Sequence[bytes]) -> Form | None:
    """Return the reading that suits most of these files, or None where none does."""
    best: tuple[float, Form] | None = None
    for form in dict.fromkeys(f for data in contents[:1] for f in _candidates(data)):
        found = [_roughness(values) for data in contents if (values := form.read(data)) is not None]
        finite = [value for value in found if math.isfinite(value)]
        if len(finite) * 2 <= len(found) or not finite:
            continue
        rough = float(np.median(finite))
        # A uint8 file is also one of int8: a little better is no reason.
        if best is None or rough < 0.9 * best[0]:
            best = (rough, form)
    return best[1] if best else None


def _candidates(data: bytes) -> Iterator[Form]:
    """Yield the readings that the size allows, the usual ones first."""
    skip = 0
    kinds = [np.dtype(kind) for kind in _DTYPES]
    if data.startswith(_NPY):
        try:
            file = io.BytesIO(data)
            array = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, OSError):
            return
        kinds, skip = [array.dtype], len(data) - array.nbytes
    for channels in (3, 1):
        for kind in kinds:
            count, rest = divmod(len(data) - skip, kind.itemsize * channels)
            side = math.isqrt(count)
            if rest or side * side != count or not 8 <= side <= _MOST_SIDE:
                continue
            for layout in (CHW, HWC) if channels > 1 else (CHW,):
                yield Form(kind, layout, side, channels, skip)


def is_moderate(planes: NDArray[np.float64]) -> bool:
    """Say whether all values are numbers that a pixel may have come to."""
    return bool(np.isfinite(planes).all() and np.abs(planes).max() <= _MOST)


def _roughness(planes: NDArray[np.float64]) -> float:
    """Return the mean difference of neighbours by the spread; infinite for what is no picture."""
    if not is_moderate(planes):
        return math.inf
    magnitude = np.abs(planes)
    if np.count_nonzero((magnitude < _LEAST) & (magnitude > 0)) * 20 > planes.size:
        return math.inf
    # Of all values, and so the same for all layouts of one dtype.
    spread = float(planes.std())
    if not spread:
        return math.inf
    across = np.abs(np.diff(planes, axis=2)).mean()
    down = np.abs(np.diff(planes, axis=1)).mean()
    return float(across + down) / spread
