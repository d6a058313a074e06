"""A naive runner: one thread that reads a batch, infers it and writes its results, in turn.

It stands for the loop that one writes first: every tensor is read with `ndarray.fromfile` and
stacked, every number is formatted by itself with six digits after the point. The engine answers at
once (`benchmarks.known_engine`). Beside its results it leaves `loop_s`, the time without start-up.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.known_engine import KnownSession

SHAPE = (3, 224, 224)


def main(info: Path, results: Path, form: str, batch: int) -> None:
    """Run over all samples of an info file; `form` is text or binary."""
    session = KnownSession(batch)
    session.infer(0, np.zeros((batch, *SHAPE), np.float32))
    paths = [Path(line.split(" ")[1]) for line in info.read_text().splitlines()]
    started = time.perf_counter()
    for first in range(0, len(paths), batch):
        some = paths[first : first + batch]
        tensors = np.stack([np.fromfile(path, np.float32).reshape(SHAPE) for path in some])
        scores = session.infer(0, tensors)[0]
        for path, row in zip(some, scores, strict=False):
            target = results / f"{path.stem}_1"
            if form == "text":
                with target.with_suffix(".txt").open("w") as file:
                    for value in row:
                        file.write(f"{value:.6f} ")
            else:
                row.tofile(target.with_suffix(".bin"))
    seconds = time.perf_counter() - started
    results.with_name(results.name + ".loop_s").write_text(str(seconds))


if __name__ == "__main__":
    words = sys.argv[1:]
    main(Path(words[0]), Path(words[1]), words[2], int(words[3]))
