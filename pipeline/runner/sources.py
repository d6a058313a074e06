"""Where the runner's samples come from: prepared tensors, or images prepared on the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import machine
from pipeline.errors import PipelineError
from pipeline.runner.flow import Batch


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
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(file)


class ImageFiles:
    """Images, decoded and prepared by the ImageNet transform.

    A thread for every second core: the engine has one for each, and takes at least as long for a
    picture as its decoding does.

    float32 (3, 224, 224) is the whole transform, uint8 (224, 224, 3) the resized and cropped
    pixels.
    """

    def __init__(self, paths: Sequence[str], workers: int | None = None) -> None:
        self.names = paths
        self.workers = workers or max(1, machine.usable_cores() // 2)

    def read(self, batch: Batch) -> None:
        """Read the files as they are."""
        from pipeline.imagenet import decode

        names = self.names[batch.first : batch.first + batch.count]
        batch.files = [decode.read(Path(name)) for name in names]

    def prepare(self, batch: Batch) -> None:
        """Decode and transform the images into the rows of the batch."""
        from pipeline.imagenet import transform

        for row, data in enumerate(batch.files):
            path = Path(self.names[batch.first + row])
            if batch.tensor.dtype == np.uint8:
                batch.tensor[row] = transform.prepare_pixels(path, data)
            else:
                transform.prepare(path, batch.tensor[row], data)
        batch.files = []
