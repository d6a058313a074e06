"""Many dumps at once: whole files into the rows of one block, in place.

What is read here is what this project and its like write: one line of plain decimals with a space
after each, or raw float32. Whatever else a dump may be is left to `dump.from_text`, which takes all
of it and says what is wrong with the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats import dump

_MOST_CHARACTERS = 32  # of a value and its space; a float64 with all its digits has 25
_SPACE, _TO_COMMA, _NEWLINE = ord(" "), ord(",") - ord(" "), ord("\n")


class BinaryRows:
    """A block of at most `rows` rows of `outputs` raw float32 each, little-endian."""

    def __init__(self, rows: int, outputs: int) -> None:
        self._values = np.empty((rows, outputs), "<f4")
        beyond = bytearray(1)  # where it is written to, a file is longer than its row
        self._buffers = [(row.data.cast("B"), beyond) for row in self._values]

    def read(self, paths: Sequence[str]) -> NDArray[np.float32] | None:
        """Return the values of these files, (files, outputs), or None where one has another length.

        They are there until the next call. OSError where a file cannot be opened or read.
        """
        for path, buffers in zip(paths, self._buffers, strict=False):
            if _read_into(path, buffers) != len(buffers[0]):
                return None
        return self._values[: len(paths)]


class TextRows:
    """A block of at most `rows` rows of `outputs` decimals each.

    ModuleNotFoundError where pysimdjson is not installed; not every Python has it.
    """

    def __init__(self, rows: int, outputs: int) -> None:
        import simdjson

        self._wide = np.empty((rows, outputs), np.float64)
        self._values = np.empty((rows, outputs), np.float32)
        # A dump in JSON: `[`, the file, and `]` in the place of what ends it.
        self._text = bytearray(b"[" + bytes(outputs * _MOST_CHARACTERS + 2))
        self._view = memoryview(self._text)
        self._room = (self._view[1:],)
        self._characters = np.frombuffer(self._text, np.uint8)
        self._is_space = np.empty(len(self._text), np.bool_)
        self._parse: Callable[[memoryview], Any] = simdjson.Parser().parse

    def read(self, paths: Sequence[str]) -> NDArray[np.float32] | None:
        """Return the values of these files, (files, outputs), or None where one is not plain.

        Not plain is what JSON does not take as `outputs` numbers, and a decimal that may have to be
        rounded once instead of twice. The values are there until the next call. OSError where a
        file cannot be opened or read.
        """
        wide, values = self._wide[: len(paths)], self._values[: len(paths)]
        for path, row in zip(paths, wide, strict=True):
            if not self._read_one(path, row):
                return None
        with np.errstate(over="ignore", under="ignore"):
            values[...] = wide
        return None if dump.are_ties(wide).any() else values

    def _read_one(self, path: str, row: NDArray[np.float64]) -> bool:
        text, end = self._text, _read_into(path, self._room)
        if end >= len(text) - 2:
            return False
        # The file fills the places 1 to `end`; its last space and newline fall away. One that ends
        # otherwise may have been cut short.
        if text[end] == _NEWLINE:
            end -= 1
        elif text[end] != _SPACE:
            return False
        if text[end] == _SPACE:
            end -= 1
        # These two JSON would take, nested or between values.
        if text.find(b"[", 1, end + 1) >= 0 or text.find(b",", 1, end + 1) >= 0:
            return False
        # Five times as fast as bytes.translate.
        characters, is_space = self._characters[1 : end + 1], self._is_space[:end]
        np.equal(characters, _SPACE, out=is_space)
        steps = is_space.view(np.uint8)
        np.multiply(steps, _TO_COMMA, out=steps)
        np.add(characters, steps, out=characters)
        text[end + 1] = ord("]")
        try:
            found = self._parse(self._view[: end + 2]).as_buffer(of_type="d")
        except (ValueError, TypeError, RuntimeError):  # no JSON, no numbers in it, too long ones
            return False
        numbers = np.frombuffer(found, np.float64)
        if numbers.size != row.size:
            return False
        row[:] = numbers
        return True


def _read_into(path: str, buffers: Sequence[bytearray | memoryview]) -> int:
    """Fill `buffers` from the beginning of a file and return how many bytes there were."""
    # A Path, a buffered file and a new buffer each cost as much again as the read itself.
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.readv(handle, buffers)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(handle)
