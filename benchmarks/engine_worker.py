"""A process that holds one model in one engine and runs it when it is told to.

Run as `python -m benchmarks.engine_worker JSON`, the fields of `Task`. It writes its first logits
to a file, prints one JSON line when it is ready, then one for each line `SECONDS` on its input: the
pictures done in about that time, the time it took, and how far its logits were from the first ones.
With `convert` it makes the engine's files and ends.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.engines import Models, Opened, Unavailable, Wish
from benchmarks.stats import greatest_relative_difference


@dataclass(frozen=True)
class Task:
    """Which engine, how, on which files."""

    module: str
    precision: str
    option: str
    batch: int
    threads: int
    models: str
    arch: str
    outputs: str
    convert: bool = False


def main() -> None:
    """Answer on the standard output that was there at the start; engines print on theirs."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    task = Task(**json.loads(sys.argv[1]))
    try:
        engine = _engine(task.module)
        models = Models(Path(task.models), task.arch)
        if task.convert:
            engine.convert(models)
            answer(ready=True)
            return
        wish = Wish(task.precision, task.batch, task.threads, task.option)
        started = time.perf_counter()
        opened: Opened = engine.open_model(models, wish)
        loaded = time.perf_counter() - started
        bench = _Bench(opened, np.load(models.inputs), task.batch)
    except Unavailable as reason:
        answer(missing=str(reason))
        return
    np.save(task.outputs, bench.first)
    answer(ready=True, version=opened.version, streams=opened.streams, load_s=loaded)
    for line in sys.stdin:
        answer(**bench.visit(float(line)), peak_rss_bytes=_peak())


def _engine(name: str) -> Any:
    """Import an engine's module; Unavailable where a package of it is not installed."""
    module = importlib.import_module(f"benchmarks.peers.engines.{name}")
    for package in module.PACKAGES:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise Unavailable(
                f"the package {error.name} is not installed (benchmarks/requirements.txt has it)"
            ) from error
        except ImportError as error:
            raise Unavailable(f"the package {package} cannot be imported: {error}") from error
    return module


def _peak() -> int | None:
    """Return the most memory this process ever had; getrusage would count its parent's as well."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(li.split()[1]) * 1024 for li in lines if li.startswith("VmHWM:")), None)


class _Bench:
    """Batches of the pictures in turn; a thread per stream keeps that stream busy."""

    def __init__(self, opened: Opened, pictures: NDArray[Any], batch: int) -> None:
        self._opened = opened
        count = max(1, len(pictures) // batch)
        rows = np.arange(count * batch) % len(pictures)
        self._batches = list(
            np.ascontiguousarray(pictures[rows]).reshape(count, batch, 3, 224, 224)
        )
        firsts = [np.array(opened.infer(0, each)) for each in self._batches]
        for stream in range(1, opened.streams):
            opened.infer(stream, self._batches[0])
        self.first = np.concatenate(firsts)
        self._firsts = firsts

    def visit(self, seconds: float) -> dict[str, float]:
        """Run every stream for about `seconds`, at least one batch each."""
        done = [(0, 0.0)] * self._opened.streams
        errors: list[Exception] = []
        cpu = os.times()
        started = time.perf_counter()

        def keep_busy(stream: int) -> None:
            batches, drift = 0, 0.0
            try:
                while True:
                    place = (stream + batches) % len(self._batches)
                    logits = self._opened.infer(stream, self._batches[place])
                    batches += 1
                    if time.perf_counter() - started >= seconds:
                        break
                drift = greatest_relative_difference(self._firsts[place], logits)
            except Exception as error:  # whatever an engine raises has to leave its thread
                errors.append(error)
            done[stream] = (batches, drift)

        threads = [
            threading.Thread(target=keep_busy, args=(stream,)) for stream in range(len(done))
        ]
        for thread in threads[1:]:
            thread.start()
        keep_busy(0)
        for thread in threads[1:]:
            thread.join()
        wall = time.perf_counter() - started
        if errors:
            raise errors[0]
        now = os.times()
        return {
            "images": len(self._batches[0]) * sum(batches for batches, _ in done),
            "wall_s": wall,
            "cpu_s": now.user + now.system - cpu.user - cpu.system,
            "drift": max(drift for _, drift in done),
        }


if __name__ == "__main__":
    main()
