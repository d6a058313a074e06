"""The project's runner with an engine that answers at once.

Run as `python -m benchmarks.null_run MODEL INFO RESULTS FORM BATCH`: all that benchmark.py does for
a data set, records and perf file included, except for loading the model, whose place
`benchmarks.known_engine` takes. MODEL is any ONNX model; FORM is text, binary or npy.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

from benchmarks.known_engine import KnownSession
from pipeline import engines, progress
from pipeline.engines import Settings
from pipeline.runner import dataset


def main(model: Path, info: Path, results: Path, form: str, batch: int) -> None:
    """Run once."""
    progress.silence()
    job = dataset.Job(model, info, batch, form=form, warmup=0, results=results)

    def load(engine: str, path: Path, settings: Settings) -> KnownSession:
        return KnownSession(settings.batch_size)

    with mock.patch.object(engines, "load", load):
        dataset.run(job)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(Path(words[0]), Path(words[1]), Path(words[2]), words[3], int(words[4]))
