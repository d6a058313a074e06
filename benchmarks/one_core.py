"""Pictures to tensors in one process on one core: torchvision, and us, by turns.

Run as `python -m benchmarks.one_core FOLDER ROUNDS`; prints one JSON object. Seconds are processor
time, which a neighbour on the core leaves as it is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

TORCHVISION, OURS, OURS_UINT8, DECODE = (
    "torchvision",
    "ours",
    "ours, uint8 pixels",
    "Pillow, decoding alone (a floor, no tensor)",
)


def main(folder: Path, rounds: int) -> None:
    """Compare every tensor, then measure."""
    _pin()
    files = sorted(folder.iterdir())
    designs = _designs()
    differing = _differing(files, designs)
    seconds: dict[str, list[float]] = {name: [] for name in designs}
    for _ in range(rounds):
        for name, prepare in designs.items():
            started = time.process_time()
            for path in files:
                prepare(path)
            seconds[name].append(time.process_time() - started)
    print(json.dumps({"files": len(files), "differing": differing, "cpu_s": seconds}))


def _pin() -> None:
    """Stay on one core with one thread; before NumPy starts threads of its own."""
    os.environ |= dict.fromkeys(_ONE_THREAD, "1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _designs() -> dict[str, Callable[[Path], Any]]:
    import numpy as np
    import torch

    from benchmarks.peers import transform
    from pipeline.imagenet import CROP
    from pipeline.imagenet.transform import prepare, prepare_pixels

    torch.set_num_threads(1)
    reference = transform.build()
    buffer = np.empty((3, CROP, CROP), np.float32)
    return {
        TORCHVISION: lambda path: reference(transform.open_rgb(path)).numpy(),
        OURS: lambda path: prepare(path, buffer),
        OURS_UINT8: prepare_pixels,
        DECODE: transform.open_rgb,
    }


def _differing(files: Sequence[Path], designs: Mapping[str, Callable[[Path], Any]]) -> int:
    """Return how many pictures do not come out as torchvision has them, to the last bit."""
    from benchmarks.check import normalised

    differing = 0
    for path in files:
        reference = designs[TORCHVISION](path).tobytes()
        pixels = normalised(designs[OURS_UINT8](path).tobytes())
        differing += designs[OURS](path).tobytes() != reference or pixels != reference
    return differing


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
