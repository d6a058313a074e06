"""A folder of dumps: what lies in it, whether it is whole, and its rows of scores in blocks.

A dump `<stem>_<k>.txt|.bin` belongs to the image whose name before the first dot is the stem's. Of
several outputs per image the lowest is scored: `_0` where the folder counts from 0 (ais_bench,
msame), else `_1` (the benchmark tool). `benchmark.py -dump=npy` leaves one array per output.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline import record
from pipeline.errors import PipelineError
from pipeline.formats import dump, perf
from pipeline.imagenet.labels import stem_of
from pipeline.runner.sinks import NAMES_FILE, array_name

BLOCK_ROWS = 256
TEXT_SHARE, BINARY_SHARE, ARRAY_SHARE = 1_000, 8_000, 50_000

_RAW = np.dtype("<f4")
_MOST_BYTES_AT_ONCE = 1 << 16
_RERUN = "run benchmark.py again"


@dataclass(frozen=True)
class Block:
    """Some rows of scores, and for each where it stands and the name of its image."""

    places: Sequence[str]
    images: Sequence[str]
    scores: NDArray[np.float32]  # (rows, outputs)


class Dumps(Protocol):
    """The first output of each image of one run, in whatever form it lies in the folder."""

    folder: Path
    images: Sequence[str]  # in the order of the rows
    passed_over: int  # entries of the folder that are no dumps
    other_outputs: int  # dumps of a second, third, ... output
    share: int  # images below which a process more takes longer to start than it helps

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the rows from `start` to `stop`, at most `BLOCK_ROWS` at a time.

        PipelineError names the file that cannot be read, or differs in length from the first.
        """


def find(folder: Path) -> Dumps:
    """Return the dumps in `folder`; whatever else lies there is counted, not read.

    PipelineError where there is no dump, where one is there in two forms, where two belong to one
    image, or where an image lacks its first output.
    """
    stems, names, passed_over = _scan(folder)
    arrays = _arrays(folder, names)
    if arrays and stems:
        raise PipelineError(
            f"{folder} holds both {arrays[0]} and single dumps", "remove what is out of date"
        )
    if arrays:
        return _ArrayDumps(folder, arrays, passed_over - len(arrays) - 1)
    if not stems:
        besides = f", only {passed_over} other entries" if passed_over else ""
        raise PipelineError(f"{folder} holds no dump such as IMAGE_1.txt{besides}", _RERUN)
    return _FileDumps(folder, stems, passed_over)


def verify(dumps: Dumps) -> bool:
    """Say whether the folder has the record of a run; without one nothing is known of it.

    PipelineError where that run did not end well, or counted other dumps than there are.
    """
    # `.` and a trailing `..` have no name that a record could lie beside.
    folder = Path(os.path.abspath(dumps.folder))  # noqa: PTH100 (resolve would follow links)
    made = record.load(folder)
    if made is None:
        return False
    if made.get("status") != "complete":
        raise PipelineError(
            f"{dumps.folder} is not the output of a complete run"
            f" (its record says {made.get('status')})",
            _RERUN,
        )
    images, counts = len(dumps.images), made.get("counts", {})
    written = counts.get("dumped"), counts.get("outputs_per_sample")
    there = images, 1 + dumps.other_outputs / images
    if written != there:
        raise PipelineError(
            f"{dumps.folder} holds {images} images with {there[1]:.6g} outputs each,"
            f" and its record says {written[0]} with {written[1]}",
            f"{_RERUN}, or remove {record.path_of(folder)} if another tool made these dumps",
        )
    return True


class _FileDumps:
    """One file per image and output."""

    def __init__(self, folder: Path, stems: dict[str, dict[int, str]], passed_over: int) -> None:
        self.folder, self.passed_over = folder, passed_over
        first = 0 if any(0 in outputs for outputs in stems.values()) else 1
        self._names: list[str] = []
        for stem in sorted(stems):
            outputs = stems[stem]
            if first not in outputs:
                there = folder / outputs[min(outputs)]
                raise PipelineError(f"output {first} of {stem} is missing beside {there}", _RERUN)
            self._names.append(outputs[first])
        self.images: Sequence[str] = _images(folder, sorted(stems))
        self.other_outputs = sum(map(len, stems.values())) - len(stems)
        self.share = TEXT_SHARE if self._names[0].endswith(".txt") else BINARY_SHARE
        # The first file says how many values each has, whichever rows are read.
        self._outputs = _read_values([f"{folder}/{self._names[0]}"])[1][0]

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        for first in range(start, stop, BLOCK_ROWS):
            rows = slice(first, min(first + BLOCK_ROWS, stop))
            places = [f"{self.folder}/{name}" for name in self._names[rows]]
            values, counts = _read_values(places)
            for place, count in zip(places, counts, strict=True):
                if count != self._outputs:
                    raise PipelineError(
                        f"{place} holds {count} values, and {self._names[0]} holds {self._outputs}",
                        f"do they come from one run? {_RERUN}",
                    )
            yield Block(places, self.images[rows], values.reshape(-1, self._outputs))


class _ArrayDumps:
    """One `.npy` file per output, shape (images, ...), and the file with the images' names."""

    share = ARRAY_SHARE

    def __init__(self, folder: Path, arrays: Sequence[str], passed_over: int) -> None:
        self.folder, self.passed_over = folder, passed_over
        self._path = folder / arrays[0]
        names = (folder / NAMES_FILE).read_text("utf-8", "surrogateescape").split("\n")
        self.images: Sequence[str] = _images(folder / NAMES_FILE, names[:-1])
        self.other_outputs = (len(arrays) - 1) * len(self.images)
        try:
            scores = np.load(self._path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise PipelineError(f"{self._path} is no whole array: {error}", _RERUN) from None
        if scores.dtype.kind not in "biuf" or not scores.ndim or not scores.size:
            what = f"{scores.dtype} of shape {scores.shape}"
            raise PipelineError(f"{self._path} holds {what}, and no scores", _RERUN)
        if len(scores) != len(self.images):
            raise PipelineError(
                f"{self._path} has {len(scores)} rows,"
                f" and {NAMES_FILE} beside it has {len(self.images)} names",
                _RERUN,
            )
        self._scores = scores.reshape(len(scores), -1)

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        for first in range(start, stop, BLOCK_ROWS):
            rows = slice(first, min(first + BLOCK_ROWS, stop))
            images = self.images[rows]
            places = [f"{self._path}, row {first + i} ({name})" for i, name in enumerate(images)]
            yield Block(places, images, self._scores[rows].astype(np.float32))


def _arrays(folder: Path, names: set[str]) -> list[str]:
    """Return the names of the arrays in `folder` by number of output; the list may be empty."""
    arrays: list[str] = []
    while (name := array_name(len(arrays) + 1)) in names:
        arrays.append(name)
    if arrays and NAMES_FILE not in names:
        raise PipelineError(f"{folder} holds {arrays[0]} without {NAMES_FILE}", _RERUN)
    return arrays


def _images(where: Path, stems: Sequence[str]) -> list[str]:
    """Return the images' names; PipelineError where two stems belong to one image."""
    owners: dict[str, str] = {}
    for stem in stems:
        image = stem_of(stem)
        if image in owners:
            raise PipelineError(
                f"{where}: {owners[image]} and {stem} belong to one image, {image}",
                "give the images names that differ before the first dot",
            )
        owners[image] = stem
    return list(owners)


def _scan(folder: Path) -> tuple[dict[str, dict[int, str]], set[str], int]:
    """Return {stem: {output number: file name}}, other files' names, and the count of others."""
    stems: dict[str, dict[int, str]] = {}
    names: set[str] = set()
    others = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            parts = _parts(entry.name)
            if parts is None or not entry.is_file():
                others += 1
                if entry.is_file():
                    names.add(entry.name)
                continue
            stem, number = parts
            outputs = stems.setdefault(stem, {})
            if number in outputs:
                both = " and ".join(sorted((outputs[number], entry.name)))
                raise PipelineError(f"{folder}: there are {both}", "remove the one out of date")
            outputs[number] = entry.name
    return stems, names, others


def _parts(name: str) -> tuple[str, int] | None:
    # A hidden file (such as `._x_1.txt`, which macOS leaves) and a perf file look like dumps.
    if name.startswith((".", "perf_", "PureInfer_")) and (name[0] == "." or perf.split_name(name)):
        return None
    return dump.split_name(name)


def _read_values(paths: Sequence[str]) -> tuple[NDArray[np.float32], list[int]]:
    """Return the values of dumps, one after the other, and how many each has."""
    contents = [_read(path) for path in paths]
    if all(path.endswith(".txt") for path in paths):
        try:
            return dump.from_texts(contents)
        except ValueError:
            pass  # the way below names the file
    rows = [_values(path, data) for path, data in zip(paths, contents, strict=True)]
    return np.concatenate(rows), [row.size for row in rows]


def _values(path: str, data: bytes) -> NDArray[np.float32]:
    if path.endswith(".bin"):
        if len(data) % _RAW.itemsize or not data:
            raise PipelineError(f"{path} has {len(data)} bytes, no whole number of float32", _RERUN)
        return np.frombuffer(data, _RAW)
    try:
        return dump.from_text(data)
    except ValueError as error:
        raise PipelineError(f"{path} is no dump: {error}", _RERUN) from None


def _read(path: str) -> bytes:
    # A Path and a buffered file cost as much again as the read itself.
    handle = os.open(path, os.O_RDONLY)
    try:
        parts = [os.read(handle, _MOST_BYTES_AT_ONCE)]
        while len(parts[-1]) == _MOST_BYTES_AT_ONCE:
            parts.append(os.read(handle, _MOST_BYTES_AT_ONCE))
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(handle)
    return parts[0] if len(parts) == 1 else b"".join(parts)
