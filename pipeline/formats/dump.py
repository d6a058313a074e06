"""Dumped outputs: one file per sample and model output, as text or as raw values.

Source of names and layout: the output of the `benchmark` tool (`<stem>_<k>.txt`, k from 1) and of
its successors msame and ais_bench (k from 0, one text row per last dimension).
"""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

NAMES_FILE = "results.names"  # the images of the arrays' rows, one per line
MOST_BYTES = 64 << 20  # of one dump; while text is read, its values take some twenty times that

# A number has no leading zero, so that an input tensor such as `val_00000001.bin` is no dump.
_NAME = re.compile(r"(.+)_(0|[1-9][0-9]{0,8})\.(?:txt|bin)", re.DOTALL)
_TO_SPACES = bytes.maketrans(b",", b" ")
# A dump as JSON. What only JSON takes (strings, lists, true, null ...) becomes what it refuses.
_TO_JSON = bytes.maketrans(b' \n"[{tfn,', b",,!!!!!!!")
# A float64 with this tail lies halfway between two normal float32.
_TAIL = np.int64((1 << 29) - 1)
_HALF = np.int64(1 << 28)
_SMALLEST_NORMAL, _SUBNORMAL_STEPS = 2.0**-126, 2.0**149


def dump_name(stem: str, number: int, binary: bool) -> str:
    """Return the file name of output `number` of the sample `stem`, e.g. `cat_1.txt`."""
    return f"{stem}_{number}.{'bin' if binary else 'txt'}"


def array_name(number: int) -> str:
    """Return the name of the one file that holds all results of output `number`, from 1."""
    return f"results_{number}.npy"


def split_name(name: str) -> tuple[str, int] | None:
    """Return stem and output number of a dump's file name, or None where it names no dump."""
    if match := _NAME.fullmatch(name):
        stem, number = match.groups()
        return stem, int(number)
    return None


def to_text(values: NDArray[np.generic]) -> bytes:
    """Return the whole array as one line: a space after each value (also the last), a newline.

    `values` has any shape and a boolean, integer or floating dtype. Floats have the fewest digits
    that give back the same float32 (float16 goes through float32, which holds it exactly; float64
    keeps its own digits), integers are exact, booleans are 0 and 1. Not-a-number and the
    infinities are `nan`, `inf` and `-inf`, as C++ streams write them. TypeError for other dtypes.
    """
    flat = _for_json(values)
    if not flat.size:
        return b"\n"
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    if b"n" in text:  # JSON knows no such value, and has `null` in its place
        words = text.split(b",")
        for place in np.flatnonzero(~np.isfinite(flat)):
            words[place] = str(flat[place]).encode()
        text = b",".join(words)
    return text.translate(_TO_SPACES) + b" \n"


def from_text(data: bytes) -> NDArray[np.float32]:
    """Return all values of a dump in text form as one float32 vector, correctly rounded.

    Takes what C++ streams and `printf` write: one row or many, any white space between values and
    around them, scientific notation, `nan` and `inf` with either sign, `+1` and `1.`. ValueError
    where there is no value, or a word that is no number, or where it has more than 64 MiB.
    """
    return from_texts([data])[0]


def from_texts(texts: Sequence[bytes]) -> tuple[NDArray[np.float32], list[int]]:
    """Return the values of several dumps, one after the other, and how many each has.

    The same as `from_text` of each, in less time.
    """
    packed = [_pack(text) for text in texts]
    wide = np.frombuffer(b"".join(packed), np.float64)
    counts = [len(part) // wide.itemsize for part in packed]
    with np.errstate(over="ignore", under="ignore"):
        narrow = wide.astype(np.float32)
        ties = np.flatnonzero(are_ties(wide))
        if ties.size:
            words = [word for text in texts for word in text.split()]
            for place in ties:
                narrow[place] = _round_once(words[place], wide[place])
    return narrow, counts


def open_array(path: Path) -> NDArray[Any]:
    """Return the array in the `.npy` file at `path`, mapped into memory for reading.

    ValueError where it is none, is cut short, or holds Python objects; OSError where it cannot be
    read.
    """
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")  # of its header, which is Python's syntax of any age
            return np.lib.format.open_memmap(path, mode="r")
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # A damaged header is Python's syntax, and raises whatever its broken words lead to.
        raise ValueError(" ".join(str(error).split())[:120] or type(error).__name__) from error


def from_npy(data: bytes) -> NDArray[np.float32]:
    """Return the values of a `.npy` dump as float32, flat.

    ValueError where it is none, is cut short, or holds anything but numbers.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, is_fortran, dtype = readers[version](file)
    except Exception as error:  # as in `open_array`
        raise ValueError("it has no header of a NumPy array") from error
    values = data[file.tell() :]
    if dtype.kind not in "biuf" or not values or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{len(values)} bytes are no {dtype} of shape {shape}")
    array = np.frombuffer(values, dtype).reshape(shape, order="F" if is_fortran else "C")
    return array.astype(np.float32).reshape(-1)


def _for_json(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return `values` flat, contiguous and in a dtype that orjson writes digit for digit."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    dtype: np.dtype[Any]
    if kind == "b":
        dtype = np.dtype(np.uint8)
    elif kind in "iu":
        dtype = values.dtype.newbyteorder("=")
    elif kind == "f":
        dtype = np.dtype(np.float32 if size <= 4 else np.float64)
    else:
        raise TypeError(f"a dump holds numbers, not {values.dtype}")
    return np.ascontiguousarray(values, dtype=dtype).reshape(-1)


def _pack(text: bytes) -> bytes:
    """Return the values of one dump as raw float64."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"it holds more than {MOST_BYTES >> 20} MiB")
    plain = text.rstrip()
    if b"\n" in plain:
        plain = plain.replace(b" \n", b" ")
    try:
        values = orjson.loads(b"[" + plain.translate(_TO_JSON) + b"]")
    except ValueError:
        values = [_number(word) for word in text.split()]
    if not values:
        raise ValueError("it holds no values")
    # Three times as fast as np.array, which looks at the type of each value first.
    return struct.pack(f"{len(values)}d", *values)


def _number(word: bytes) -> float:
    # Python alone takes `1_0`; its own message would quote the whole word, however long.
    if b"_" not in word:
        try:
            return float(word)
        except ValueError:
            pass
    raise ValueError(f"it holds {repr(word[:20])[1:]}, which is no number")


def are_ties(wide: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which float64 lie halfway between two float32.

    Their text may lie beside the middle, and rounding it twice is then wrong: the fewest digits
    of the float32 0x1.5c87fap-84, 7.038531e-26, are such a text.
    """
    ties: NDArray[np.bool_] = (wide.view(np.int64) & _TAIL) == _HALF
    tiny = np.abs(wide) < _SMALLEST_NORMAL
    if tiny.any():
        ties |= tiny & (np.abs(np.where(tiny, wide, 0)) * _SUBNORMAL_STEPS % 1 == 0.5)
    return ties


def _round_once(word: bytes, tie: np.float64) -> np.float32:
    """Return the float32 nearest to the decimal `word`, whose nearest float64 is `tie`."""
    # Decimal holds both to the last digit, and unlike int() as many digits as there are.
    exact, middle = Decimal(word.decode("ascii")), Decimal(float(tie))
    if exact == middle:
        return np.float32(tie)
    # The next float64 towards the text is past the middle, and rounds to the text's side.
    return np.float32(np.nextafter(tie, np.inf if exact > middle else -np.inf))
