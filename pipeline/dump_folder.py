"""A folder of dumps: what lies in it, and its rows of scores in blocks.

A dump `<stem>_<k>.txt|.bin|.npy` belongs to the image whose name before the first dot is the
stem's. Of several outputs per image the lowest is scored: `_0` where the folder counts from 0
(ais_bench, msame), else `_1` (the benchmark tool). `benchmark.py -dump=npy` leaves one array per
output. Folders of several devices in it are one set (`pipeline.dump_layout`).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline import chain, dump_layout, record
from pipeline.errors import PipelineError
from pipeline.formats import dump, perf, text
from pipeline.formats.blocks import BinaryRows, TextRows

BLOCK_ROWS = 128
TEXT_SHARE, BINARY_SHARE, ARRAY_SHARE = 1_000, 8_000, 50_000

_RAW = np.dtype("<f4")  # of a binary dump whose folder has no record
_RAW_NAMES = frozenset(np.dtype(kind).name for kind in "?bBhHiIlLefd")
# Of ais_bench with --outfmt NPY; `results_<k>.npy` are the arrays of benchmark.py.
_NPY_NAME = re.compile(r"(.+)_(0|[1-9][0-9]{0,8})\.npy", re.DOTALL)
_ARRAYS = dump.array_name(1).removesuffix("_1.npy")
_MOST_BYTES_AT_ONCE = 1 << 16
RERUN = "run benchmark.py again"


@dataclass(frozen=True)
class Block:
    """Some rows of scores, and for each the name of its image and where it stands."""

    place: Callable[[int], str]
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

        A block's scores are there until the next block is asked for. PipelineError names the file
        that cannot be read, or differs in length from the first.
        """


def find(folder: Path) -> Dumps:
    """Return the dumps of the run in `folder`; whatever else lies there is counted, not read.

    PipelineError where there is no dump, where one is there in two forms, where two belong to one
    image, where an image lacks its first output, or where there are several runs.
    """
    folder = locate(folder)
    named, others, passed_over = _scan_all(folder)
    arrays = _arrays(folder, others)
    if arrays and named:
        raise PipelineError(
            f"{folder} holds both {arrays[0]} and single dumps", "remove what is out of date"
        )
    if arrays:
        return _ArrayDumps(folder, arrays, passed_over - len(arrays) - 1)
    if not named:
        besides = f", only {passed_over} other entries" if passed_over else ""
        raise PipelineError(f"{folder} holds no dump such as IMAGE_1.txt{besides}", RERUN)
    return _FileDumps(folder, named, passed_over, _raw_dtype(folder))


def locate(folder: Path) -> Path:
    """Return the folder of the one run whose dumps lie in `folder`; PipelineError for several."""
    return dump_layout.locate(folder, _is_dump)


class _FileDumps:
    """One file per image and output."""

    def __init__(
        self,
        folder: Path,
        named: dict[int, dict[str, str]],
        passed_over: int,
        raw: np.dtype[Any],
    ) -> None:
        self.folder, self.passed_over, self._raw = folder, passed_over, raw
        first = 0 if 0 in named else 1
        firsts = named.get(first, {})
        if lacking := set().union(*named.values()) - firsts.keys():
            stem = min(lacking)
            there = folder / named[min(n for n in named if stem in named[n])][stem]
            raise PipelineError(f"output {first} of {stem} is missing beside {there}", RERUN)
        stems = sorted(firsts)
        self._names = [firsts[stem] for stem in stems]
        self.images: Sequence[str] = _images(folder, stems)
        self.other_outputs = sum(map(len, named.values())) - len(firsts)
        # The first file says how many values each has, whichever rows are read.
        self._outputs = _read_values([f"{folder}/{self._names[0]}"], raw)[1][0]
        self._forms = {name[-4:] for name in self._names}
        self.share = TEXT_SHARE if ".txt" in self._forms else BINARY_SHARE

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        plain_rows = self._plain_rows()
        for first in range(start, stop, BLOCK_ROWS):
            rows = slice(first, min(first + BLOCK_ROWS, stop))
            places = [f"{self.folder}/{name}" for name in self._names[rows]]
            scores = plain_rows.read(places) if plain_rows else None
            if scores is None:
                scores = self._any_rows(places)
            yield Block(places.__getitem__, self.images[rows], scores)

    def _plain_rows(self) -> BinaryRows | TextRows | None:
        """Return the fast way to read these files, or None where there is none."""
        if self._forms == {".bin"} and self._raw == _RAW:
            return BinaryRows(BLOCK_ROWS, self._outputs)
        if self._forms == {".txt"} and importlib.util.find_spec("simdjson"):
            return TextRows(BLOCK_ROWS, self._outputs)
        return None

    def _any_rows(self, places: Sequence[str]) -> NDArray[np.float32]:
        values, counts = _read_values(places, self._raw)
        for place, count in zip(places, counts, strict=True):
            if count != self._outputs:
                raise PipelineError(
                    f"{place} holds {count} values, and {self._names[0]} holds {self._outputs}",
                    f"do they come from one run? {RERUN}",
                )
        return values.reshape(-1, self._outputs)


class _ArrayDumps:
    """One `.npy` file per output, shape (images, ...), and the file with the images' names."""

    share = ARRAY_SHARE

    def __init__(self, folder: Path, arrays: Sequence[str], passed_over: int) -> None:
        self.folder, self.passed_over = folder, passed_over
        self._path = folder / arrays[0]
        names = os.fsdecode(text.read(folder / dump.NAMES_FILE, RERUN)).split("\n")
        self.images: Sequence[str] = _images(folder / dump.NAMES_FILE, names[:-1])
        self.other_outputs = (len(arrays) - 1) * len(self.images)
        try:
            scores = dump.open_array(self._path)
        except ValueError as error:
            raise PipelineError(f"{self._path} is no whole array: {error}", RERUN) from None
        if scores.dtype.kind not in "biuf" or not scores.ndim or not scores.size:
            what = f"{scores.dtype} of shape {scores.shape}"
            raise PipelineError(f"{self._path} holds {what}, and no scores", RERUN)
        if len(scores) != len(self.images):
            raise PipelineError(
                f"{self._path} has {len(scores)} rows,"
                f" and {dump.NAMES_FILE} beside it has {len(self.images)} names",
                RERUN,
            )
        self._scores = scores.reshape(len(scores), -1)

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        for first in range(start, stop, BLOCK_ROWS):
            rows = slice(first, min(first + BLOCK_ROWS, stop))
            scores = self._scores[rows].astype(np.float32, copy=False)
            yield Block(functools.partial(self._place, first), self.images[rows], scores)

    def _place(self, first: int, row: int) -> str:
        return f"{self._path}, row {first + row} ({self.images[first + row]})"


def _raw_dtype(folder: Path) -> np.dtype[Any]:
    """Return the dtype of a binary dump of the first output, as the run's record has it."""
    name = chain.field(record.load(folder), str, "details", "output_dtypes", 0)
    if name is None:
        return _RAW
    if name not in _RAW_NAMES:
        where = record.path_of(folder)
        raise PipelineError(f"{where} has no dtype of dumps: {chain.shown(name)}", RERUN)
    return np.dtype(name).newbyteorder("<")


def _arrays(folder: Path, names: set[str]) -> list[str]:
    """Return the names of the arrays in `folder` by number of output; the list may be empty."""
    arrays: list[str] = []
    while (name := dump.array_name(len(arrays) + 1)) in names:
        arrays.append(name)
    if arrays and dump.NAMES_FILE not in names:
        raise PipelineError(f"{folder} holds {arrays[0]} without {dump.NAMES_FILE}", RERUN)
    return arrays


def _images(where: Path, stems: Sequence[str]) -> list[str]:
    """Return the images' names; PipelineError where two stems belong to one image."""
    images = [stem.split(".", 1)[0] for stem in stems]  # labels.stem_of, at half the time
    if len(set(images)) < len(images):
        owners: dict[str, str] = {}
        for image, stem in zip(images, stems, strict=True):
            if image in owners:
                raise PipelineError(
                    f"{where}: {owners[image]} and {stem} belong to one image, {image}",
                    "give the images names that differ before the first dot",
                )
            owners[image] = stem
    return images


def _scan_all(folder: Path) -> tuple[dict[int, dict[str, str]], set[str], int]:
    """Return what `_scan` finds, in the folders of all devices where the run had several."""
    devices = dump_layout.parts(folder, _is_dump)
    if not devices:
        return _scan(folder)
    whole: dict[int, dict[str, str]] = {}
    passed_over = sum(1 for _ in folder.iterdir()) - len(devices)
    for device in devices:
        named, _, others = _scan(folder / device)
        passed_over += others
        for number, stems in named.items():
            there = whole.setdefault(number, {})
            if twice := stems.keys() & there.keys():
                stem = min(twice)
                raise PipelineError(
                    f"{folder}: {there[stem]} and {device}/{stems[stem]} are of one image",
                    "was each device given all inputs? then give the folder of one of them",
                )
            there.update({stem: f"{device}/{name}" for stem, name in stems.items()})
    return whole, set(), passed_over


def _scan(folder: Path) -> tuple[dict[int, dict[str, str]], set[str], int]:
    """Return {output number: {stem: file name}}, other files' names, and the count of others."""
    named: dict[int, dict[str, str]] = {}
    names: set[str] = set()
    others = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            parts = _parts(name)
            if parts is None or not entry.is_file():
                others += 1
                if entry.is_file():
                    names.add(name)
                continue
            stem, number = parts
            there = named.setdefault(number, {}).setdefault(stem, name)
            if there is not name:
                both = " and ".join(sorted((there, name)))
                raise PipelineError(f"{folder}: there are {both}", "remove the one out of date")
    return named, names, others


def _parts(name: str) -> tuple[str, int] | None:
    # A hidden file (such as `._x_1.txt`, which macOS leaves) and a perf file look like dumps.
    if name.startswith((".", "perf_", "PureInfer_")) and (name[0] == "." or perf.split_name(name)):
        return None
    if match := _NPY_NAME.fullmatch(name):
        return None if match[1] == _ARRAYS else (match[1], int(match[2]))
    return dump.split_name(name)


def _is_dump(name: str) -> bool:
    return _parts(name) is not None or name == dump.array_name(1)


def _read_values(paths: Sequence[str], raw: np.dtype[Any]) -> tuple[NDArray[np.float32], list[int]]:
    """Return the values of dumps, one after the other, and how many each has."""
    contents = [_read(path) for path in paths]
    if all(path.endswith(".txt") for path in paths):
        try:
            return dump.from_texts(contents)
        except ValueError:
            pass  # the way below names the file
    rows = [_values(path, data, raw) for path, data in zip(paths, contents, strict=True)]
    return np.concatenate(rows), [row.size for row in rows]


def _values(path: str, data: bytes, raw: np.dtype[Any]) -> NDArray[np.float32]:
    if path.endswith(".bin"):
        if len(data) % raw.itemsize or not data:
            what = f"{len(data)} bytes, no whole number of {raw.name}"
            raise PipelineError(f"{path} has {what}", RERUN)
        return np.frombuffer(data, raw).astype(np.float32, copy=False)
    try:
        return dump.from_npy(data) if path.endswith(".npy") else dump.from_text(data)
    except ValueError as error:
        raise PipelineError(f"{path} is no dump: {error}", RERUN) from None


def _read(path: str) -> bytes:
    # A Path and a buffered file cost as much again as the read itself.
    handle = os.open(path, os.O_RDONLY)
    try:
        parts = [os.read(handle, _MOST_BYTES_AT_ONCE)]
        while len(parts[-1]) == _MOST_BYTES_AT_ONCE:
            parts.append(os.read(handle, _MOST_BYTES_AT_ONCE))
            if len(parts) * _MOST_BYTES_AT_ONCE > dump.MOST_BYTES:
                raise PipelineError(f"{path} has more than {dump.MOST_BYTES >> 20} MiB", RERUN)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(handle)
    return parts[0] if len(parts) == 1 else b"".join(parts)
