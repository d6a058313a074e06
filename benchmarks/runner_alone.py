"""The runner with an engine that answers at once: ours and the naive loop as variants, checked."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.costs import INNER_RATE, Variant
from benchmarks.harness import Command, Figures
from benchmarks.known_engine import KnownSession
from pipeline.errors import PipelineError
from pipeline.formats import dump, perf

# Six digits after the point lose 5e-7, and reading them as float32 as much again.
_NAIVE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Bench:
    """`count` samples, of which `unique` differ, and the folder that results go into."""

    model: Path
    info: Path
    folder: Path
    count: int
    unique: int

    @property
    def dumps(self) -> Path:
        """Where ours puts its results, and the naive loop as well."""
        return self.folder / "dumpOutput_device0"

    def empty(self) -> None:
        """Remove the results of the run before."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.dumps.mkdir()

    def naive(self, form: str, batch: int) -> Variant:
        """Return the naive loop."""
        words = (self.info, self.dumps, form, str(batch))
        command = Command(harness.python("-m", "benchmarks.peers.naive_runner", *words))

        def check() -> Figures:
            tolerance = _NAIVE_TOLERANCE if form == "text" else 0.0
            self.compare("the naive loop", form, batch, tolerance)
            seconds = float(self.dumps.with_name(self.dumps.name + ".loop_s").read_text())
            return {INNER_RATE: self.count / seconds}

        return Variant(f"naive loop, {form}, batch {batch}", [command], self.empty, check)

    def ours(self, form: str, batch: int) -> Variant:
        """Return our runner."""
        words = (self.model, self.info, self.folder, form, str(batch))
        command = Command(harness.python("-m", "benchmarks.null_run", *words))

        def check() -> Figures:
            self.compare("ours", form, batch, 0.0)
            return {INNER_RATE: read_perf(self.folder, batch).e2e_rate}

        title = "one file" if form == "npy" else form
        return Variant(f"ours, {title}, batch {batch}", [command], self.empty, check)

    def compare(self, who: str, form: str, batch: int, tolerance: float) -> None:
        """PipelineError where a result is not what the engine answers for its sample."""
        session = KnownSession(batch)
        firsts = (first % self.unique for first in range(0, self.count, batch))
        scores = np.concatenate([session.scores_of(first) for first in firsts])[: self.count]
        if form == "npy":
            found = np.load(self.dumps / "results_1.npy")
        else:
            stems = (f"{number:08d}" for number in range(self.count))
            names = (dump.dump_name(stem, 1, form == "binary") for stem in stems)
            read = ((self.dumps / name).read_bytes() for name in names)
            found = np.stack(
                [dump.from_text(d) if form == "text" else np.frombuffer(d, "<f4") for d in read]
            )
        if found.shape != scores.shape or np.abs(found - scores).max() > tolerance:
            raise PipelineError(
                f"{who}: results in the form {form} are not those of the engine",
                "a runner that writes something else is not measured",
            )


def read_perf(results: Path, batch: int) -> perf.DatasetPerf:
    """Return the figures that a run over a data set left in the folder `results`."""
    path = results / perf.perf_name("vision", batch, 0)
    figures = perf.from_text(path.read_text(encoding="utf-8"))
    if not isinstance(figures, perf.DatasetPerf):
        raise PipelineError(f"{path.name} is not of a run over a data set")
    return figures
