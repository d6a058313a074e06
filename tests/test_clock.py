"""A wall clock that jumps, back and forth, disturbs no figure, no record and no later run."""

from __future__ import annotations

import ast
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import benchmark
from cli import door
from pipeline import record
from pipeline.errors import PipelineError
from pipeline.formats import perf
from pipeline.runner import sinks
from pipeline.runner.flow import Batch
from tests import models
from tests.conftest import PROJECT

SIZE, COUNT = 32, 12
FLAGS = ("-om_path=m.onnx", "-input_text_path=data.info", "-batch_size=2", "-engine=onnxruntime")
WALL = ("time", "time_ns", "now", "utcnow", "today")


@pytest.fixture(autouse=True)
def jumping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the wall clock fall by a day with each look at it, and now and then rise by a year."""
    steps = itertools.cycle([-86_400, -86_400, 365 * 86_400])
    now = itertools.accumulate(steps, initial=1_600_000_000)
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    monkeypatch.setattr(time, "time_ns", lambda: next(now) * 10**9)
    yield


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    models.save_classifier(tmp_path / "m.onnx", size=SIZE)
    (tmp_path / "prep").mkdir()
    rng = np.random.default_rng(2)
    lines = []
    for i in range(COUNT):
        rng.random((3, SIZE, SIZE), dtype=np.float32).tofile(tmp_path / f"prep/p{i}.bin")
        lines.append(f"{i} ./prep/p{i}.bin {SIZE} {SIZE}\n")
    (tmp_path / "data.info").write_text("".join(lines))
    return tmp_path


def run(*flags: str) -> int:
    return door.enter(benchmark.build_parser(), benchmark.call, flags)


def figures_in(content: object) -> Iterator[float]:
    if isinstance(content, dict):
        for value in content.values():
            yield from figures_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from figures_in(value)
    elif isinstance(content, int | float):
        yield content


def test_a_run_measures_the_same_whatever_the_wall_clock_says(work: Path) -> None:
    started = time.perf_counter()
    assert run(*FLAGS) == 0
    took = time.perf_counter() - started
    made = record.load(work / "result/dumpOutput_device0")
    assert made is not None
    assert made["status"] == "complete"
    assert all(0 <= seconds <= took for seconds in made["timings_s"].values())
    stated = made["details"]["quotable"]
    assert 0 < stated["seconds"] < took
    assert min(figures_in([made["details"]["perf"], stated, made["details"]["latencies_us"]])) >= 0
    text = (work / "result" / perf.perf_name("vision", 2, 0)).read_text()
    figures = perf.from_text(text)
    assert isinstance(figures, perf.DatasetPerf)
    assert all(0 < value < 1e7 for value in vars(figures).values())


def test_rounds_measure_the_same_whatever_the_wall_clock_says(work: Path) -> None:
    assert run("-om_path=m.onnx", "-round=20", "-engine=onnxruntime") == 0
    made = record.load(work / "result" / perf.pure_perf_name("m", 0))
    assert made is not None
    assert 0 < made["details"]["quotable"]["seconds"] < 60
    assert min(made["details"]["latencies_us"]) > 0


def test_an_interrupted_run_goes_on_after_the_clock_has_jumped(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = sinks.DumpFiles.write, 0

    def fail_at_the_fourth(sink: sinks.DumpFiles, batch: Batch) -> list[object]:
        nonlocal written
        written += 1
        if written == 4:
            raise PipelineError("the disk is gone", "find it")
        return write(sink, batch)

    with monkeypatch.context() as failing:
        failing.setattr(sinks.DumpFiles, "write", fail_at_the_fourth)
        assert run(*FLAGS) == 1
    folder = work / "result/dumpOutput_device0"
    before = {dump.name: dump.stat().st_mtime_ns for dump in folder.iterdir()}
    assert len(before) == 6
    assert run(*FLAGS) == 0
    after = {dump.name: dump.stat().st_mtime_ns for dump in folder.iterdir()}
    assert before.items() <= after.items()
    assert len(after) == COUNT
    made = record.load(folder)
    assert made is not None
    assert (made["counts"]["kept"], made["counts"]["timed"]) == (6, COUNT - 6)
    assert made["details"]["quotable"]["verdict"] == "SMOKE"
    assert made["details"]["quotable"]["reasons"][0] == (
        "6 of 12 samples were timed, the others in an earlier run: measure anew with -force"
    )


def test_a_complete_run_stays_up_to_date(work: Path) -> None:
    assert run(*FLAGS) == 0
    folder = work / "result/dumpOutput_device0"
    command = json.loads(record.path_of(folder).read_text())["command"]
    assert record.is_current(Path("result/dumpOutput_device0"), command)


def test_the_wall_clock_is_asked_for_a_date_and_nothing_else() -> None:
    """Durations come of a clock that only goes on; one date stands in each record."""
    asked = []
    for room in ("cli", "pipeline", "models_vovnet", "."):
        files = (PROJECT / room).glob("*.py") if room == "." else (PROJECT / room).rglob("*.py")
        for file in files:
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Attribute) and node.attr in WALL:
                    owner = ast.unparse(node.value).split(".")[-1]
                    if owner in ("time", "datetime", "date"):
                        asked.append(f"{file.relative_to(PROJECT)}: {ast.unparse(node)}")
    # The second one asks how old a file is that a killed process left in the cache; one that is
    # dropped too early costs its owner the entry, and nothing else.
    assert asked == ["pipeline/record.py: time.time", "pipeline/engines/cache.py: time.time"]
