"""Where the runner's samples come from: prepared tensors, or images prepared on the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import machine
from pipeline.errors import PipelineError
from pipeline.runner.flow import Batch

_SCRATCH_BYTES = 1 << 20


class TensorFiles:
    """One `.bin` file per sample, which holds exactly what the model takes for it.

    Two workers: where the files are not in the page cache, one waits while the other reads.
    """

    def __init__(self, paths: Sequence[str], workers: int = 2) -> None:
        self.names = paths
        self.workers = workers

    def read(self, batch: Batch) -> None:
        """Read the files straight into the rows of the batch."""
        rows = batch.tensor.reshape(len(batch.tensor), -1).view(np.uint8)
        for row, path in enumerate(self.names[batch.first : batch.first + batch.count]):
            self._read_file(path, memoryview(rows[row]))

    def prepare(self, batch: Batch) -> None:
        """Do nothing: the tensors are as the model takes them."""

    def _read_file(self, path: str, row: memoryview) -> None:
        size, done = len(row), 0
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while done < size:
                got = os.readv(file, [row[done:]])
                if not got:
                    raise PipelineError(
                        f"{path} ends after {done} of {size} bytes",
                        "it was changed during the run; make it again",
                    )
                done += got
        finally:
            os.close(file)


class ImageFiles:
    """Images, decoded and prepared by the ImageNet transform in as many threads as cores.

    float32 (3, 224, 224) is the whole transform, uint8 (224, 224, 3) the resized and cropped
    pixels. `read` brings a file into the page cache, so that its cost is the medium's alone;
    `prepare` decodes it from there.
    """

    def __init__(self, paths: Sequence[str], workers: int | None = None) -> None:
        self.names = paths
        self.workers = workers or machine.usable_cores()

    def read(self, batch: Batch) -> None:
        """Read the files, and drop what was read."""
        scratch = memoryview(bytearray(_SCRATCH_BYTES))
        for path in self.names[batch.first : batch.first + batch.count]:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while os.readv(file, [scratch]):
                    pass
            finally:
                os.close(file)

    def prepare(self, batch: Batch) -> None:
        """Decode and transform the images into the rows of the batch."""
        from pipeline.imagenet import transform

        for row in range(batch.count):
            path = Path(self.names[batch.first + row])
            if batch.tensor.dtype == np.uint8:
                batch.tensor[row] = transform.prepare_pixels(path)
            else:
                transform.prepare(path, out=batch.tensor[row])
