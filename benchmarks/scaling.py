#!/usr/bin/env python3
"""How cost grows: preprocessing, the runner and scoring with 1, 4 and 16 times the images.

Time should grow in proportion, so that each further image costs the same, and memory should not
grow at all. The runner runs with an engine that answers at once. Larger sets hold the same
pictures and tensors again, under other names.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import costs, dumps, front, harness, inputs, pictures, places, scoring, stats
from benchmarks.costs import Variant
from benchmarks.harness import Command, Gate, Visit
from benchmarks.runner_alone import Bench
from benchmarks.table import Column, Part, Table
from cli import door
from pipeline import progress
from pipeline.errors import PipelineError

STEPS = (1, 4, 16)
ROUNDS = 3
BATCH = 16
# Images at 1x: long enough that start-up is a small part of it.
IMAGES, SAMPLES, RESULTS = 250, 1024, 3125
QUICK = {IMAGES: 4, SAMPLES: 16, RESULTS: 20}
_UNIQUE_TENSORS = 256
_BYTES_PER_IMAGE = 610_000

COLUMNS = (
    Column("cpu_s", "CPU time", ".2f", " s"),
    Column("wall_s", "wall time", ".2f", " s"),
    Column("further_ms", "CPU time of each further image", ".3f", " ms"),
    Column("peak_mb", "peak memory", ".0f", " MB"),
    Column("peak_ratio", "memory / 1x", ".2f", "x"),
)


@dataclass(frozen=True)
class Stage:
    """A stage at its sizes; `variants` yields one checked variant per size."""

    key: str
    title: str
    sizes: Sequence[int]
    variants: Callable[[Path, Sequence[int]], Sequence[Variant]]
    need: int  # bytes


def build_parser() -> door.Parser:
    """Return the parser of this benchmark."""
    return front.parser("scaling", __doc__ or "")


def call(args: argparse.Namespace) -> door.Verdict:
    """Measure stage by stage."""
    rounds = args.rounds or (1 if args.quick else ROUNDS)
    table = Table(
        "scaling", "How cost grows with the images", quick=args.quick, settings={"rounds": rounds}
    )
    table.note_versions("numpy", "Pillow", "opencv-python-headless", "orjson")
    for stage in _stages(args.quick):
        with places.scratch(stage.need, args.work_dir) as folder:
            part = table.part(stage.key, f"{stage.title}, on {places.kind(folder)}", COLUMNS)
            variants = stage.variants(folder, stage.sizes)
            _measure(part, stage.sizes, variants, rounds, args.quick)
    return front.verdict(table, args.out)


def _stages(quick: bool) -> list[Stage]:
    def sizes(base: int) -> list[int]:
        return [(QUICK[base] if quick else base) * step for step in STEPS]

    images, samples, results = sizes(IMAGES), sizes(SAMPLES), sizes(RESULTS)
    written = samples[-1] * 15_000 + _UNIQUE_TENSORS * inputs.TENSOR_BYTES
    return [
        Stage("preprocess", "Preprocessing", images, _preprocess, images[-1] * _BYTES_PER_IMAGE),
        Stage("runner", "The runner, text results", samples, _runner, written),
        Stage("scoring_text", "Scoring, text", results, _scoring("text"), results[-1] * 20_000),
        Stage("scoring_npy", "Scoring, one file", results, _scoring("npy"), results[-1] * 8000),
    ]


def _name(size: int, sizes: Sequence[int]) -> str:
    return f"{size // sizes[0]}x: {size:,} images"


def _measure(
    part: Part, sizes: Sequence[int], variants: Sequence[Variant], rounds: int, quick: bool
) -> None:
    gate = Gate(0 if quick else costs.PATIENCE_PER_VARIANT * len(variants))
    progress.note(f"{part.title}: one run each for memory and as a warm-up")
    memory = {v.name: costs.visit(v, costs.SAMPLE_S) for v in variants}
    calls = {v.name: (lambda v=v: costs.visit(v, 0.0)) for v in variants}
    visits = harness.interleave(calls, rounds, gate, part.title)
    fill(part, sizes, list(visits.values()), [v.figures["peak_bytes"] for v in memory.values()])
    part.rounds = {
        "gate": gate.to_json(),
        "memory": {name: visit.to_json() for name, visit in memory.items()},
        "visits": {name: [v.to_json() for v in seen] for name, seen in visits.items()},
    }
    part.notes.append(
        f"Median (least-greatest) of {rounds} interleaved rounds. A further image is one more than"
        f" in the row above. Memory is {harness.memory_kind()}, in a run of its own."
        f" {gate.sentence()}"
    )


def fill(
    part: Part, sizes: Sequence[int], visits: Sequence[Sequence[Visit]], peaks: Sequence[float]
) -> None:
    """Add a row per size; what a further image costs is the difference to the size before."""
    for place, (size, seen) in enumerate(zip(sizes, visits, strict=True)):
        cpu = harness.column(seen, "cpu_s")
        cells: dict[str, stats.Spread | float] = {
            "cpu_s": stats.spread(cpu),
            "wall_s": stats.spread(harness.column(seen, "wall_s")),
            "peak_mb": peaks[place] / 1e6,
            "peak_ratio": peaks[place] / peaks[0],
        }
        if place:
            before = harness.column(visits[place - 1], "cpu_s")
            more = size - sizes[place - 1]
            further = [(now - then) / more * 1000 for now, then in zip(cpu, before, strict=True)]
            cells["further_ms"] = stats.spread(further)
        part.add(_name(size, sizes), **cells)


def _preprocess(folder: Path, sizes: Sequence[int]) -> list[Variant]:
    output = folder / "tensors"
    script = harness.PROJECT / "vovnet_torch_preprocess.py"

    def variant(size: int) -> Variant:
        source = folder / f"pictures_{size}"
        pictures.make_photos(source, size, unique=sizes[0])

        def check() -> dict[str, float]:
            found = len(list(output.iterdir()))
            if found != size:
                raise PipelineError(f"{found} of {size} files were made")
            return {}

        command = Command(harness.python(script, source, output))
        return Variant(_name(size, sizes), [command], lambda: _empty(output), check)

    return [variant(size) for size in sizes]


def _runner(folder: Path, sizes: Sequence[int]) -> list[Variant]:
    model = inputs.save_small_model(folder / "model.onnx")
    results = folder / "results"
    results.mkdir()
    unique = min(_UNIQUE_TENSORS, sizes[0])

    def variant(size: int) -> Variant:
        source = folder / f"input_{size}"
        source.mkdir()
        info = inputs.make_tensors(source, size, unique)
        made = Bench(model, info, results, size, unique).ours("text", BATCH)
        return Variant(_name(size, sizes), made.commands, made.prepare, made.check)

    return [variant(size) for size in sizes]


def _scoring(form: str) -> Callable[[Path, Sequence[int]], list[Variant]]:
    def variants(folder: Path, sizes: Sequence[int]) -> list[Variant]:
        return [variant(folder, size, sizes) for size in sizes]

    def variant(folder: Path, size: int, sizes: Sequence[int]) -> Variant:
        labels, target = folder / f"labels_{size}.txt", folder / "result.json"
        dumps.make_labels(labels, size)
        dumps.make_results(folder / str(size), size, form)

        def check() -> dict[str, float]:
            if f'"{size}"' not in target.read_text(encoding="utf-8"):
                raise PipelineError(f"not all of {size} results were scored")
            return {}

        command = Command(scoring.our_argv(folder / str(size), labels, target))
        return Variant(_name(size, sizes), [command], lambda: target.unlink(missing_ok=True), check)

    return variants


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
