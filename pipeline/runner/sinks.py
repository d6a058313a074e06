"""Where the runner's outputs go: one file per sample and output, or one array per output.

The array form keeps these files in the dump folder:

- `results_<k>.npy`, k from 1 per model output: sample by sample, shape (samples, ...) and dtype as
  the model gives them;
- `results.names`: line i is the stem of row i, in the bytes that a file's name has, in the order of
  the info file.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import atomic
from pipeline.errors import PipelineError
from pipeline.formats import dump
from pipeline.runner.flow import Batch

_ARRAY_NAME = re.compile(r"\.?results(_[1-9][0-9]*\.npy|\.names)(\.partial)?")


def is_result(name: str) -> bool:
    """Say whether a file of that name in a dump folder is the result of a run."""
    return dump.split_name(name) is not None or _ARRAY_NAME.fullmatch(name) is not None


def remove_results(folder: Path) -> int:
    """Remove what an earlier run left in `folder`, and nothing else; return how many files."""
    with os.scandir(folder) as entries:
        old = [e.path for e in entries if is_result(e.name) and not e.is_dir(follow_symlinks=False)]
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
        if batch_size > 1 and (output.ndim == 0 or len(output) != batch_size):
            raise PipelineError(
                f"the model's output {name!r} has the shape {output.shape} for a batch of"
                f" {batch_size}, so it cannot be split by sample",
                "give -batch_size=1, or a model with the batch as the first axis of each output",
            )


class DumpFiles:
    """One file per sample and output: `<stem>_<k>.txt` or `.bin`, k from 1."""

    def __init__(self, folder: Path, stems: Sequence[str], binary: bool) -> None:
        self._stems, self._binary = stems, binary
        self._prefix = str(folder) + os.sep

    def write(self, batch: Batch) -> None:
        """Write the batch's files, each with one call."""
        for row in range(batch.count):
            stem = self._stems[batch.first + row]
            for number, output in enumerate(batch.outputs, 1):
                values = row_of(output, row, len(batch.tensor))
                data = values.tobytes() if self._binary else dump.to_text(values)
                self._write_file(self._prefix + dump.dump_name(stem, number, self._binary), data)

    def _write_file(self, path: str, data: bytes) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            _write_all(file, data, path)
        finally:
            os.close(file)


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
        for path, sample in zip(self._partial, self._samples, strict=True):
            header = io.BytesIO()
            layout: dict[str, Any] = {
                "descr": np.lib.format.dtype_to_descr(sample.dtype),
                "fortran_order": False,
                "shape": (len(self._stems), *sample.shape),
            }
            np.lib.format.write_array_header_1_0(header, layout)
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._files.append(os.open(path, flags, 0o666))
            _write_all(self._files[-1], header.getvalue(), str(path))
            self._starts.append(len(header.getvalue()))
        return self

    def write(self, batch: Batch) -> None:
        """Write the batch's rows to their places, with one call per output."""
        for file, start, sample, path, output in zip(
            self._files, self._starts, self._samples, self._paths, batch.outputs, strict=True
        ):
            rows = np.ascontiguousarray(
                output if sample.ndim == output.ndim else output[: batch.count]
            )
            if rows.nbytes != sample.nbytes * batch.count:
                raise PipelineError(
                    f"{path}: the outputs differ in size from sample to sample",
                    "give -dump=files",
                )
            os.lseek(file, start + batch.first * sample.nbytes, os.SEEK_SET)
            _write_all(file, rows, str(path))

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for file in self._files:
            os.close(file)
        if kind is not None:
            for path in self._partial:
                path.unlink(missing_ok=True)
            return
        for partial, path in zip(self._partial, self._paths, strict=True):
            atomic.rename(partial, path)
        atomic.write_text(
            self._folder / dump.NAMES_FILE, "".join(f"{stem}\n" for stem in self._stems)
        )


def _write_all(file: int, data: Any, path: str) -> None:
    """Write all of a buffer; a full disk may take a part of it before it says so."""
    view = memoryview(data).cast("B")
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError as error:
        error.filename = path
        raise
