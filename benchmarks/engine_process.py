"""One engine in one live process, from the side of the benchmark."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import asdict
from typing import Any

from benchmarks import harness
from benchmarks.engine_worker import Task
from benchmarks.harness import Visit
from benchmarks.load import Watch
from benchmarks.peers.engines import Models
from pipeline.errors import PipelineError

# Outputs of one engine for one input may differ from run to run by the order of sums.
MOST_DRIFT = 1e-3


class Missing(Exception):
    """The engine is not there or cannot do this; the text says why."""


class EngineProcess:
    """A worker that has loaded its model; `answer` is what it said when it was ready."""

    def __init__(self, task: Task) -> None:
        # A file takes what the engine says, so that it never stops at a full pipe.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            harness.python("-m", "benchmarks.engine_worker", json.dumps(asdict(task))),
            cwd=harness.PROJECT,
            env=harness.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        try:
            self.answer = self._read()
        except BaseException:
            self.close()
            raise
        if "missing" in self.answer:
            self.close()
            raise Missing(self.answer["missing"])

    def visit(self, seconds: float) -> Visit:
        """Keep the engine busy for about `seconds`; figures: `rate` (images/s), `peak_bytes`.

        Idle processes of other engines count as others. PipelineError where the outputs are no
        longer what they were.
        """
        watch = Watch()
        if self._process.stdin is None:
            raise RuntimeError("the process has no input")
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer = self._read()
        others = watch.others(answer["cpu_s"])
        if answer["drift"] > MOST_DRIFT:
            raise PipelineError(
                f"outputs changed by {answer['drift']:.1e} while they were measured"
            )
        rate = answer["images"] / answer["wall_s"]
        return Visit({"rate": rate, "peak_bytes": answer["peak_rss_bytes"] or 0}, others)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._said.seek(0)
            raise Missing(f"it failed: {harness.last_line(self._said.read())}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def convert(module: str, models: Models) -> None:
    """Have an engine make its own files, in a process that ends with it; Missing where it can't."""
    task = Task(module, "fp32", "", 1, 1, str(models.folder), models.arch, "", convert=True)
    EngineProcess(task).close()
