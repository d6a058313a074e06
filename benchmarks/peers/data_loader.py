"""A torch DataLoader: as many workers as cores, batches of 16, the parent writes the files.

It stands for the usual way to feed pictures to torch. A DataLoader sets its workers to one thread
each by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.transform import build, open_rgb, output_name
from pipeline import machine

BATCH = 16


class Pictures:
    """A map-style data set: position to (tensor, name of the output file)."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._transform = build()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, place: int) -> tuple[Any, str]:
        path = self._files[place]
        return self._transform(open_rgb(path)), output_name(path)


def main(source: Path, destination: Path) -> None:
    """Prepare every picture in `source` into `destination`."""
    from torch.utils.data import DataLoader

    pictures: Any = Pictures(sorted(source.iterdir()))
    for batch, names in DataLoader(pictures, BATCH, num_workers=machine.usable_cores()):
        for row, name in zip(batch.numpy(), names, strict=True):
            row.tofile(destination / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
