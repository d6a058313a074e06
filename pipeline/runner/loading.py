"""A model loaded and warmed up, both reported apart from the measured time."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import engines, machine, progress, record
from pipeline.engines import Session, Settings, cache, model_file
from pipeline.runner import waiting

_SEED = 20200224


@dataclass(frozen=True)
class Loaded:
    """A session that has been warmed up; `outputs` are those of its first inference."""

    session: Session
    model: model_file.ModelFile
    load_s: float
    first_inference_ms: float
    warmup: int
    outputs: Sequence[NDArray[Any]] = field(repr=False)

    def describe(self) -> str:
        """Return what is in force, in one line."""
        s = self.session
        return (
            f"engine {s.engine} {s.version}, precision {s.precision}, threads {s.threads},"
            f" requests {s.requests}, load {self.load_s:.3f} s ({s.start}),"
            f" first inference {self.first_inference_ms:.3f} ms, warm-up {self.warmup}"
        )

    def expected_s(self, batches: int) -> float:
        """Return about how long so many batches will take, judging by the first inference."""
        return batches * self.first_inference_ms / 1000 / self.session.requests

    def details(self) -> record.Json:
        """Return the same for a record."""
        s = self.session
        return {
            "engine": s.engine,
            "engine_version": s.version,
            "effective_precision": s.precision,
            "threads": s.threads,
            "requests": s.requests,
            "load_s": round(self.load_s, 6),
            "start": s.start,
            "first_inference_ms": round(self.first_inference_ms, 6),
            "warmup_inferences": self.warmup,
            "devices": list(getattr(s, "devices", ())),
            "machine": machine.describe(),
        }


def load(engine: str, model: Path, settings: Settings, warmup: int) -> Loaded:
    """Load a model and run it `warmup` times in each request, all at once, on random data.

    The first inference runs in any case, alone: it shows what the outputs look like. Compiled
    models are kept in the user's cache folder. An interrupt waits neither for the compiler nor for
    the engine.
    """
    started = time.perf_counter()
    folder = cache.default_folder()
    settings = replace(settings, cache=None if folder is None else cache.Cache(folder))

    def open_session() -> tuple[model_file.ModelFile, Session]:
        found = model_file.identify(model, settings.cache)
        return found, engines.load(engine, found, settings)

    found, session = waiting.call(open_session, lambda: None)  # no engine can be told to stop here
    load_s = time.perf_counter() - started
    progress.detail(f"model {found.path}: {found.kind}; {session.start}; cache: {folder or 'none'}")
    batch = random_batch(session, settings.batch_size)

    def first() -> tuple[float, list[NDArray[Any]]]:
        started = time.perf_counter()
        outputs = session.infer(0, batch)
        return (time.perf_counter() - started) * 1000, outputs

    def warm(request: int) -> None:
        for _ in range(warmup - (request == 0)):
            session.infer(request, batch)

    first_ms, outputs = waiting.call(first, session.cancel)
    works = [functools.partial(warm, request) for request in range(session.requests)]
    waiting.call_all(works, session.cancel)
    done = max(1, warmup) + (session.requests - 1) * warmup
    return Loaded(session, found, load_s, first_ms, done, outputs)


def random_batch(session: Session, batch_size: int, seed: int = _SEED) -> NDArray[Any]:
    """Return seeded data of the model's input: floats from 0 to 1, pixels, or zeros and ones."""
    info = session.inputs[0]
    shape = (batch_size, *(int(size or 0) for size in info.shape[1:]))
    rng = np.random.default_rng(seed)
    if info.dtype.kind == "f":
        return rng.random(shape, dtype=np.float32).astype(info.dtype, copy=False)
    most = 255 if info.dtype == np.uint8 else 1
    return rng.integers(0, most, shape, endpoint=True, dtype=np.uint8).astype(info.dtype)
