"""Where the runner's outputs go: one file per sample and output, or one array per output.

The array form keeps these files in the dump folder:

- `results_<k>.npy`, k from 1 per model output: sample by sample, shape (samples, ...) and dtype as
  the model gives them;
- `results.names`: line i is the stem of row i, in the bytes that a file's name has, in the order of
  the info file.

Until all rows are there an array is called `.results_<k>.npy.partial`. A run that goes on where
another was cut short finds it so, and keeps the rows that are what was written.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import atomic
from pipeline.errors import PipelineError
from pipeline.formats import dump
from pipeline.runner.flow import Batch

# What a batch's results are told by later: size and modification time of each file, in ns, or the
# CRC-32 of its rows in each array.
Marks = list[Any]

_ARRAY_NAME = re.compile(r"\.?results(_[1-9][0-9]*\.npy|\.names)(\.partial)?")


def is_result(name: str) -> bool:
    """Say whether a file of that name in a dump folder is the result of a run."""
    return dump.split_name(name) is not None or _ARRAY_NAME.fullmatch(name) is not None


def remove_results(folder: Path, but: Iterable[str] = ()) -> int:
    """Remove what an earlier run left in `folder`, and nothing else; return how many files.

    `but` are names to leave.
    """
    kept = frozenset(but)
    with os.scandir(folder) as entries:
        old = [
            entry.path
            for entry in entries
            if entry.name not in kept
            and is_result(entry.name)
            and not entry.is_dir(follow_symlinks=False)
        ]
    for path in old:
        Path(path).unlink()
    return len(old)


def row_of(output: NDArray[Any], row: int, batch_size: int) -> NDArray[np.generic]:
    """Return one sample's part of an output.

    The batch is the first axis. With one sample per batch it may be missing: then all of it
    belongs to that sample.
    """
    batched = output.ndim > 0 and len(output) == batch_size
    part: NDArray[np.generic] = np.asarray(output[row] if batched else output)
    return part


def check_outputs(outputs: Sequence[NDArray[Any]], names: Sequence[str], batch_size: int) -> None:
    """Raise PipelineError where an output cannot be told apart by sample, or is no numbers."""
    for output, name in zip(outputs, names, strict=True):
        if output.dtype.kind not in "biuf":
            raise PipelineError(f"the model's output {name!r} is {output.dtype}, and no numbers")
        if not _splits(output, batch_size):
            raise PipelineError(
                f"the model's output {name!r} has the shape {output.shape} for a batch of"
                f" {batch_size}, so it cannot be split by sample",
                "give -batch_size=1, or a model with the batch as the first axis of each output",
            )


def _splits(output: NDArray[Any], batch_size: int) -> bool:
    return batch_size == 1 or (output.ndim > 0 and len(output) == batch_size)


class DumpFiles:
    """One file per sample and output: `<stem>_<k>.txt` or `.bin`, k from 1."""

    def __init__(self, folder: Path, stems: Sequence[str], binary: bool) -> None:
        self._folder, self._stems, self._binary = folder, stems, binary
        self._prefix = str(folder) + os.sep
        self._dtypes: list[np.dtype[Any]] | None = None

    def keep(self, done: Mapping[int, Marks], batch_size: int) -> set[int]:
        """Return which batches of `done` are as they were written; remove all other results."""
        kept: set[int] = set()
        names: set[str] = set()
        for number, marks in done.items():
            first = number * batch_size
            stems = self._stems[first : first + batch_size]
            outputs = len(marks) // max(1, len(stems))
            own = [
                dump.dump_name(stem, k, self._binary)
                for stem in stems
                for k in range(1, outputs + 1)
            ]
            if own and [_mark_of(self._prefix + name) for name in own] == marks:
                kept.add(number)
                names.update(own)
        remove_results(self._folder, names)
        return kept

    def write(self, batch: Batch) -> Marks:
        """Write the batch's files, each with one call; none of them may be there yet.

        PipelineError where the model's outputs are no longer those of its first batch.
        """
        self._check(batch)
        marks = []
        for row in range(batch.count):
            stem = self._stems[batch.first + row]
            for number, output in enumerate(batch.outputs, 1):
                values = row_of(output, row, len(batch.tensor))
                data = values.tobytes() if self._binary else dump.to_text(values)
                path = self._prefix + dump.dump_name(stem, number, self._binary)
                marks.append(self._write_file(path, data))
        return marks

    def _check(self, batch: Batch) -> None:
        dtypes = [output.dtype for output in batch.outputs]
        self._dtypes = self._dtypes or dtypes
        if dtypes == self._dtypes and all(_splits(o, len(batch.tensor)) for o in batch.outputs):
            return
        raise _changed(self._stems, batch, "give -batch_size=1 to see for which sample")

    def _write_file(self, path: str, data: bytes) -> list[int]:
        # Old results are gone by now. So what is there under this name, be it a link that leads out
        # of the folder or another run's dump, is not ours to write to.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _write_all(file, data, path)
            status = os.fstat(file)
        finally:
            os.close(file)
        return [status.st_size, status.st_mtime_ns]


class ResultArrays:
    """One `.npy` per output for all samples, and the names beside it."""

    def __init__(
        self, folder: Path, stems: Sequence[str], outputs: Sequence[NDArray[Any]], batch_size: int
    ) -> None:
        """Prepare the arrays; `outputs` are those of any batch, for their shapes and dtypes."""
        self._folder, self._stems = folder, stems
        self._samples = [row_of(output, 0, batch_size) for output in outputs]
        self._paths = [folder / dump.array_name(k) for k in range(1, len(outputs) + 1)]
        self._partial = [path.with_name(f".{path.name}.partial") for path in self._paths]
        self._files: list[int] = []
        self._starts: list[int] = []

    def __enter__(self) -> ResultArrays:
        for partial, path, sample in zip(self._partial, self._paths, self._samples, strict=True):
            header = io.BytesIO()
            layout: dict[str, Any] = {
                "descr": np.lib.format.dtype_to_descr(sample.dtype),
                "fortran_order": False,
                "shape": (len(self._stems), *sample.shape),
            }
            np.lib.format.write_array_header_1_0(header, layout)
            start = len(header.getvalue())
            # A run that was killed between two renames has left some arrays under their own name.
            if _is_own_file(path) and not _is_own_file(partial):
                path.replace(partial)
            if not _is_own_file(partial):
                partial.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._files.append(os.open(partial, flags, 0o666))
            self._starts.append(start)
            try:
                os.ftruncate(self._files[-1], start + len(self._stems) * sample.nbytes)
            except OSError as error:
                error.filename = str(path)
                raise
            _write_all(self._files[-1], header.getvalue(), str(path), 0)
        return self

    def keep(self, done: Mapping[int, Marks], batch_size: int) -> set[int]:
        """Return which batches of `done` are as they were written; remove all other results."""
        remove_results(self._folder, [path.name for path in self._partial])
        kept = set()
        for number, marks in done.items():
            first = number * batch_size
            count = min(batch_size, len(self._stems) - first)
            if count > 0 and marks == self._read_marks(first, count):
                kept.add(number)
        return kept

    def _read_marks(self, first: int, count: int) -> Marks:
        marks = []
        for file, start, sample in zip(self._files, self._starts, self._samples, strict=True):
            place = start + first * sample.nbytes
            marks.append(zlib.crc32(os.pread(file, count * sample.nbytes, place)))
        return marks

    def write(self, batch: Batch) -> Marks:
        """Write the batch's rows to their places, with one call per output.

        PipelineError where an output has not the shape and dtype that it had at first.
        """
        if len(batch.outputs) != len(self._samples):
            raise _changed(self._stems, batch, "give -dump=files")
        marks = []
        for file, start, sample, path, output in zip(
            self._files, self._starts, self._samples, self._paths, batch.outputs, strict=True
        ):
            whole = output.ndim == sample.ndim
            rows = output if whole else output[: batch.count]
            shape = sample.shape if whole else (batch.count, *sample.shape)
            if (rows.shape, rows.dtype) != (shape, sample.dtype):
                raise PipelineError(
                    f"{path}: the outputs differ in size from sample to sample",
                    "give -dump=files",
                )
            data = rows.tobytes()
            _write_all(file, data, str(path), start + batch.first * sample.nbytes)
            marks.append(zlib.crc32(data))
        return marks

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            # Left open: a thread that hangs in a write may be about to go on with the next one,
            # and whatever is opened next would get the file's number.
            return
        for file in self._files:
            os.close(file)
        for partial, path in zip(self._partial, self._paths, strict=True):
            atomic.rename(partial, path)
        atomic.write_text(
            self._folder / dump.NAMES_FILE, "".join(f"{stem}\n" for stem in self._stems)
        )


def _changed(stems: Sequence[str], batch: Batch, hint: str) -> PipelineError:
    shapes = ", ".join(f"{output.dtype} {output.shape}" for output in batch.outputs)
    return PipelineError(
        f"the model's outputs have changed, to {shapes or 'none'}, in the batch from"
        f" {stems[batch.first]} to {stems[batch.first + batch.count - 1]}",
        hint,
    )


def _mark_of(path: str) -> list[int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns] if stat.S_ISREG(status.st_mode) else None


def _is_own_file(path: Path) -> bool:
    """Say whether a plain file with no other name is there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _write_all(file: int, data: bytes, path: str, place: int | None = None) -> None:
    """Write all of `data`; a full disk may take a part of it before it says so."""
    view = memoryview(data)
    try:
        while view:
            done = os.write(file, view) if place is None else os.pwrite(file, view, place)
            view, place = view[done:], None if place is None else place + done
    except OSError as error:
        error.filename = path
        raise
