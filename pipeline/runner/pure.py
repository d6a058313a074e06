"""Pure inference: rounds of one batch of random data, without reading or writing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline import atomic, engines, places, progress, quotable, record
from pipeline.engines import Settings
from pipeline.formats import perf
from pipeline.quotable import Verdict
from pipeline.runner import inputs, loading, selfcheck, waiting
from pipeline.runner.conditions import Watch
from pipeline.runner.loading import Loaded
from pipeline.runner.timing import pure_perf, pure_timed

PACKAGES = ("numpy", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Job:
    """What a pure inference run is asked for."""

    model: Path
    rounds: int
    batch_size: int = 1
    device: int = 0
    width: int | None = None
    height: int | None = None
    engine: str = engines.AUTO
    precision: str = "fp32"
    threads: int | None = None
    warmup: int = 2
    results: Path = Path("result")

    @property
    def perf_file(self) -> Path:
        """Where the figures go."""
        return self.results / perf.pure_perf_name(self.model.stem, self.device)


@dataclass(frozen=True)
class Outcome:
    """What a pure inference run gave; `rounds_ns` are the times of its rounds."""

    perf: perf.PurePerf
    rounds_ns: Sequence[int]
    loaded: Loaded
    verdict: Verdict


@progress.steps("load the model, warm it up", "time the rounds", "check the figures")
def run(job: Job) -> Outcome:
    """Load and warm up the model, time the rounds one after another, write the figures.

    One inference is in flight at a time, on all threads, so that a round's time is a latency.
    """
    places.check_file(job.perf_file, [job.model], make_parent=True)
    settings = Settings(job.batch_size, job.threads, job.precision, requests=1)
    loaded = loading.load(job.engine, job.model, settings, job.warmup)
    session = loaded.session
    inputs.check_size(session.inputs[0], job.width, job.height)
    places.make_folder(job.results)
    made = record.Run(
        stage="benchmark",
        inputs=list(loaded.model.files),
        outputs=[job.perf_file],
        settings={
            "mode": "pure inference",
            "rounds": job.rounds,
            "batch_size": job.batch_size,
            "device": job.device,
            "engine": job.engine,
            "precision": job.precision,
            "threads": job.threads,
            "warmup": job.warmup,
        },
        packages=PACKAGES,
        counts={"rounds": job.rounds},
        details=loaded.details(),
    )
    batch = loading.random_batch(session, job.batch_size)
    rounds_ns: list[int] = []
    last: list[NDArray[Any]] = []

    def time_rounds() -> None:
        nonlocal last
        for _ in range(job.rounds):
            started = time.perf_counter_ns()
            last = session.infer(0, batch)
            rounds_ns.append(time.perf_counter_ns() - started)

    def check(promising: bool) -> dict[str, quotable.Check]:
        return selfcheck.after_rounds(
            session, job.batch_size, last, loaded.outputs, timed, promising
        )

    with record.keeping(made):
        progress.next_step()
        watch = Watch()
        waiting.call(time_rounds, session.cancel)
        conditions, timed = watch.conditions(), pure_timed(rounds_ns, job.warmup)
        progress.next_step()
        promising = not quotable.judge(timed, conditions).reasons
        checks = waiting.call(lambda: check(promising), session.cancel)
        verdict = quotable.judge(timed, conditions, checks)
        made.details["quotable"] = verdict.to_json()
        figures = pure_perf(rounds_ns, job.batch_size)
        atomic.write_text(job.perf_file, perf.to_text(figures))
        made.details["perf"] = vars(figures)
        made.details["latencies_us"] = [ns // 1000 for ns in rounds_ns]
        made.verdict = f"{job.rounds} rounds, {figures.rate:.6g} samples/s"
    return Outcome(figures, rounds_ns, loaded, verdict)
