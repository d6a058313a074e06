"""The runner with a real engine: how much of the engine's own rate arrives at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import costs, harness, network, places, stats
from benchmarks.costs import Plan, Variant
from benchmarks.harness import Command, Figures, Gate, Visit
from benchmarks.peers.engines import Models
from benchmarks.pictures import make_photos
from benchmarks.runner_alone import read_perf
from benchmarks.table import Column, Table
from pipeline.errors import PipelineError
from pipeline.imagenet.labels import write_labels

PRECISIONS = ("fp32", "bf16", "int8")
NEEDED_BYTES = 800_000_000
_BYTES_PER_IMAGE = 750_000
PICTURE_ROUNDS = 3
_DETOUR = "preprocess, list, benchmark, score"
_STRAIGHT = "list, benchmark on the pictures, score"


def measure(
    table: Table,
    arch: str,
    images: int,
    batch: int,
    rounds: int,
    quick: bool,
    chosen: Path | None,
) -> None:
    """Add both parts to `table`."""
    with places.scratch(NEEDED_BYTES + images * _BYTES_PER_IMAGE, chosen) as folder:
        bench = _Bench(folder, arch, batch, images)
        bench.prepare(quick)
        usable = _end_to_end(table, bench, 1 if quick else rounds, quick)
        few = min(rounds, PICTURE_ROUNDS)
        plan = Plan("images", images, _DETOUR, "the detour", few, quick, gain=True)
        _from_pictures(table, bench, usable, plan)


@dataclass(frozen=True)
class _Bench:
    """A folder with pictures, tensors, info files, labels and models; commands run in it."""

    folder: Path
    arch: str
    batch: int
    images: int

    @property
    def models(self) -> Models:
        return Models(self.folder, self.arch)

    def prepare(self, quick: bool) -> None:
        """Make everything by the project's own commands."""
        network.make(self.models, self.arch, None, quick)
        files = make_photos(self.folder / "pictures", self.images)
        write_labels(
            self.folder / "val_label.txt",
            [(path.name, n % 1000) for n, path in enumerate(files)],
        )
        for command in (self.preprocess(), self.listing("bin")):
            harness.run(command)

    def stage(self, script: str, *words: str | Path) -> Command:
        """Return a stage's command, run in the folder."""
        argv = harness.python(harness.PROJECT / f"{script}.py", *words)
        return Command(argv, folder=self.folder)

    def preprocess(self) -> Command:
        """Return the command that prepares the pictures."""
        return self.stage("vovnet_torch_preprocess", "pictures", "prepared")

    def listing(self, kind: str) -> Command:
        """Return the command that lists the tensors (bin) or the pictures (jpg)."""
        if kind == "bin":
            return self.stage("get_info", "bin", "prepared", "bin.info", "224", "224")
        return self.stage("get_info", "jpg", "pictures", "jpg.info")

    def benchmark(self, kind: str, precision: str) -> Command:
        """Return the command that runs the model over the tensors or the pictures."""
        model = self.models.int8 if precision == "int8" else self.models.onnx
        return self.stage(
            "benchmark",
            f"-batch_size={self.batch}",
            f"-om_path={model}",
            f"-input_text_path={kind}.info",
            f"-useDvpp={'true' if kind == 'jpg' else 'false'}",
            f"-precision={precision}",
        )

    def score(self) -> Command:
        """Return the command that scores the dumps."""
        dumps = "result/dumpOutput_device0"
        return self.stage("vision_metric_ImageNet", dumps, "val_label.txt", ".", "result.json")

    def empty(self, *names: str) -> None:
        """Remove outputs of the run before, and their records."""
        for name in names:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            for record in self.folder.glob(f"{name}.*"):
                record.unlink()


def _end_to_end(table: Table, bench: _Bench, rounds: int, quick: bool) -> list[str]:
    """Measure end-to-end and Interface rate; return the precisions that run here."""
    part = table.part(
        "end_to_end",
        f"With our default engine, {bench.images:,} samples, batch {bench.batch}, text results",
        [
            Column("e2e", "end-to-end rate, images/s", ".1f"),
            Column("interface", "Interface rate, images/s", ".1f"),
            Column("share", "end-to-end / Interface", ".1%"),
            Column("engine", "in force"),
        ],
    )

    def visit(precision: str) -> Visit:
        bench.empty("result")
        seen = harness.run(bench.benchmark("bin", precision))
        figures = read_perf(bench.folder / "result", bench.batch)
        share = figures.e2e_rate / figures.interface_rate
        return Visit(
            {"e2e": figures.e2e_rate, "interface": figures.interface_rate, "share": share},
            seen.others,
        )

    calls = {}
    for precision in PRECISIONS:
        try:
            visit(precision)
        except PipelineError as error:
            part.missing[precision] = str(error)
            continue
        part.add(precision, engine=_engine(bench.folder))
        calls[precision] = lambda precision=precision: visit(precision)
    if "fp32" not in calls:
        raise PipelineError(f"the runner does not run in fp32: {part.missing['fp32']}")
    gate = Gate(0 if quick else costs.PATIENCE_PER_VARIANT * len(calls))
    visits = harness.interleave(calls, rounds, gate, part.title)
    for precision, seen in visits.items():
        for key in ("e2e", "interface", "share"):
            part.add(precision, **{key: stats.spread(harness.column(seen, key))})
    part.rounds = {
        "gate": gate.to_json(),
        "visits": {name: [v.to_json() for v in seen] for name, seen in visits.items()},
    }
    part.notes.append(
        f"Median (least-greatest) of {rounds} interleaved rounds, from the perf files."
        f" {gate.sentence()}"
    )
    return list(calls)


def _engine(folder: Path) -> str:
    record = folder / "result" / "dumpOutput_device0.record.json"
    details = json.loads(record.read_text(encoding="utf-8"))["details"]
    return f"{details['engine']} {details['engine_version']}, {details['effective_precision']}"


def _from_pictures(table: Table, bench: _Bench, usable: Sequence[str], plan: Plan) -> None:
    """Measure from JPEG to TopN with and without files between, in each precision."""
    for precision in usable[:1] if plan.quick else usable:
        first: list[bytes] = []

        def check(first: list[bytes] = first) -> Figures:
            found = (bench.folder / "result.json").read_bytes()
            first.append(found)
            if found != first[0]:
                raise PipelineError("the two ways come to different results")
            return {}

        def empty() -> None:
            bench.empty("result", "prepared")

        ways = {
            _DETOUR: [bench.preprocess(), bench.listing("bin"), bench.benchmark("bin", precision)],
            _STRAIGHT: [bench.listing("jpg"), bench.benchmark("jpg", precision)],
        }
        part = table.part(
            f"from_pictures_{precision}",
            f"From {plan.count:,} JPEGs to TopN, {precision}",
            plan.columns(),
        )
        costs.measure(
            part,
            [Variant(name, [*way, bench.score()], empty, check) for name, way in ways.items()],
            plan,
        )
        part.notes.append("Both ways come to the same result.json, byte for byte.")
