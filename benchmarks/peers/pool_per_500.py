"""The published guide's preprocessing design: a process for every 500 pictures, all at once.

The list of files is cut into pieces of 500, and a pool with one process per piece gets them:
50,000 pictures are a hundred processes, whatever the number of cores. Each runs torchvision's
transform picture by picture and writes one file each with `ndarray.tofile`. Nothing limits
torch's own threads, of which each process starts as many as there are cores; OMP_NUM_THREADS=1
does. Unlike the published script this one does not swallow the errors of its workers.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.transform import build, open_rgb, output_name

FILES_PER_PROCESS = 500


def main(source: Path, destination: Path) -> None:
    """Prepare every picture in `source` into `destination`."""
    # Loaded before the processes are forked, as a script that imports it at its top has it.
    import torchvision  # noqa: F401

    files = sorted(source.iterdir())
    pieces = [files[i : i + FILES_PER_PROCESS] for i in range(0, len(files), FILES_PER_PROCESS)]
    with multiprocessing.get_context("fork").Pool(len(pieces)) as pool:
        pending = [pool.apply_async(_prepare, (piece, destination)) for piece in pieces]
        pool.close()
        for piece in pending:
            piece.get()
        pool.join()


def _prepare(files: Sequence[Path], destination: Path) -> None:
    transform = build()
    for path in files:
        transform(open_rgb(path)).numpy().tofile(destination / output_name(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
