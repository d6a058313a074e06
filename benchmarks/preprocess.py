#!/usr/bin/env python3
"""Preprocessing: ours beside the guide's design, a torch DataLoader and a plain loop.

Photo-sized JPEGs are made on the spot. Each design runs as a command of its own, as a user runs
it, and writes one file per picture; every byte of every file is compared to torchvision's. A
second table compares the transforms alone, in one process on one core.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import check, costs, front, harness, one_core, places, stats
from benchmarks.costs import Plan, Variant
from benchmarks.harness import Command, Figures
from benchmarks.pictures import make_photos
from benchmarks.table import Column, Part, Table
from cli import door
from pipeline.errors import PipelineError

IMAGES, QUICK_IMAGES = 3000, 60
ONE_CORE_IMAGES, QUICK_ONE_CORE_IMAGES = 200, 20
ROUNDS = 5
ONE_CORE_ROUNDS = 11
BYTES_PER_IMAGE = 750_000  # a JPEG and its tensor
OURS, OURS_UINT8 = "ours", "ours, `--dtype uint8`"
PLAIN = "plain loop, torchvision"


def build_parser() -> door.Parser:
    """Return the parser of this benchmark."""
    parser = front.parser("preprocess", __doc__ or "")
    parser.add_argument(
        "--images",
        type=door.whole_number(1),
        metavar="N",
        help=f"pictures (default: {IMAGES}, with --quick {QUICK_IMAGES})",
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Make the pictures and measure both tables."""
    images = args.images or (QUICK_IMAGES if args.quick else IMAGES)
    rounds = args.rounds or ROUNDS
    with places.scratch(images * BYTES_PER_IMAGE, args.work_dir) as folder:
        pictures = folder / "pictures"
        files = make_photos(pictures, images)
        size = sum(path.stat().st_size for path in files)
        table = Table(
            "preprocess",
            "Preprocessing: JPEG to tensor",
            quick=args.quick,
            settings={
                "images": images,
                "mean_jpeg_bytes": round(size / images),
                "file_system": places.kind(folder),
            },
        )
        table.note_versions("Pillow", "numpy", "opencv-python-headless", "torch", "torchvision")
        plan = Plan("images", images, OURS, "ours", rounds, args.quick)
        whole = table.part("whole", _title(table), plan.columns())
        costs.measure(whole, _variants(pictures, folder), plan)
        whole.notes.append("Every byte of every file that was written equals torchvision's.")
        few = QUICK_ONE_CORE_IMAGES if args.quick else ONE_CORE_IMAGES
        _one_core(table, files[:few], folder, args.rounds or (1 if args.quick else ONE_CORE_ROUNDS))
    return front.verdict(table, args.out)


def _title(table: Table) -> str:
    facts = table.settings
    return (
        f"{facts['images']:,} pictures of {facts['mean_jpeg_bytes'] / 1000:.0f} KB to files on"
        f" {facts['file_system']}"
    )


@dataclass
class _Bench:
    """One input folder, one output folder that each run finds empty, one set of digests."""

    pictures: Path
    output: Path
    reference: check.Digests

    def empty(self) -> None:
        """Make the output folder anew."""
        shutil.rmtree(self.output, ignore_errors=True)
        for left in self.output.parent.glob(self.output.name + ".*"):
            left.unlink()
        self.output.mkdir()

    def checking(self, name: str, uint8: bool = False) -> Callable[[], Figures]:
        """Return a check that compares every file to torchvision's."""

        def compare() -> Figures:
            found = (
                check.digests(self.output, check.normalised)
                if uint8
                else check.digests(self.output)
            )
            check.same(found, self.reference, name)
            return {}

        return compare

    def variant(self, name: str, *argv: str | Path, uint8: bool = False, **env: str) -> Variant:
        """Return the variant that runs this Python with `argv`."""
        command = Command(harness.python(*argv), env)
        return Variant(name, [command], self.empty, self.checking(name, uint8))


def _variants(pictures: Path, folder: Path) -> list[Variant]:
    bench = _Bench(pictures, folder / "tensors", {})
    ends = (pictures, bench.output)
    ours = harness.PROJECT / "vovnet_torch_preprocess.py"
    pool = ("-m", "benchmarks.peers.pool_per_500", *ends)
    plain = bench.variant(PLAIN, "-m", "benchmarks.peers.plain_loop", *ends)
    # One process, one picture after the other, torchvision alone: that is the reference.
    plain.prepare()
    harness.run(plain.commands[0])
    bench.reference = check.digests(bench.output)
    return [
        bench.variant(OURS, ours, *ends),
        bench.variant(OURS_UINT8, ours, *ends, "--dtype", "uint8", uint8=True),
        bench.variant("guide's design, as written", *pool),
        bench.variant("guide's design, OMP_NUM_THREADS=1", *pool, OMP_NUM_THREADS="1"),
        bench.variant("torch DataLoader", "-m", "benchmarks.peers.data_loader", *ends),
        plain,
    ]


def _one_core(table: Table, files: list[Path], folder: Path, rounds: int) -> None:
    """Measure the transforms in one process on one core, on hard links to `files`."""
    few = folder / "few"
    few.mkdir()
    for path in files:
        (few / path.name).hardlink_to(path)
    done = subprocess.run(
        harness.python("-m", "benchmarks.one_core", few, str(rounds)),
        cwd=harness.PROJECT,
        env=harness.environment(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise PipelineError(f"the table of one core failed: {harness.last_line(done.stderr)}")
    found = json.loads(done.stdout)
    if found["differing"]:
        raise PipelineError(
            f"{found['differing']} of {len(files)} tensors differ from torchvision's"
        )
    part = table.part(
        "one_core",
        f"{len(files)} pictures to memory, one process on one core",
        [
            Column("rate", "images per CPU second", ".0f"),
            Column("ratio", "rate / torchvision", ".2f", "x"),
        ],
    )
    _fill_one_core(part, found["cpu_s"], len(files), rounds)


def _fill_one_core(part: Part, seconds: dict[str, list[float]], images: int, rounds: int) -> None:
    base = seconds[one_core.TORCHVISION]
    for name, mine in seconds.items():
        part.add(
            name,
            rate=stats.spread([images / s for s in mine]),
            ratio=stats.spread(stats.ratios(mine, base, better="less")),
        )
    part.rounds = {"cpu_s": seconds}
    part.notes.append(
        f"Median (least-greatest) of {rounds} interleaved rounds; ratios are of one round each."
        " Every tensor equals torchvision's to the last bit."
    )


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
