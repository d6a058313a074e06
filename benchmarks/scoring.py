#!/usr/bin/env python3
"""Scoring: results and labels to Top1 to Top5, ours beside the guide's design.

Both run as commands of their own over the same scores, as text, as binary files and, ours alone,
as one file for all. Every run has to come to the same TopN.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import costs, dumps, front, harness, places
from benchmarks.costs import Plan, Variant
from benchmarks.harness import Command
from benchmarks.table import Table
from cli import door
from pipeline.errors import PipelineError

RESULTS, QUICK_RESULTS = 50_000, 500
ROUNDS = 5
BYTES_PER_RESULT = 24_000  # in the three forms together, with what a file takes besides
GUIDE = "guide's design, text"
_FORM_NAMES = {"text": "ours, text", "binary": "ours, binary", "npy": "ours, one file"}


def build_parser() -> door.Parser:
    """Return the parser of this benchmark."""
    parser = front.parser("scoring", __doc__ or "")
    parser.add_argument(
        "--results",
        type=door.whole_number(1),
        metavar="N",
        help=f"results to score (default: {RESULTS}, with --quick {QUICK_RESULTS})",
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Make the results in all forms, then measure."""
    count = args.results or (QUICK_RESULTS if args.quick else RESULTS)
    with places.scratch(count * BYTES_PER_RESULT, args.work_dir) as folder:
        labels = folder / "val_label.txt"
        dumps.make_labels(labels, count)
        for form in dumps.FORMS:
            dumps.make_results(folder / form, count, form)
        table = Table(
            "scoring",
            "Scoring: results to TopN",
            quick=args.quick,
            settings={
                "results": count,
                "classes": dumps.CLASSES,
                "file_system": places.kind(folder),
            },
        )
        table.note_versions("numpy", "orjson", "pysimdjson")
        title = f"{count:,} results of {dumps.CLASSES} classes on {places.kind(folder)}"
        rounds = args.rounds or ROUNDS
        plan = Plan("results", count, GUIDE, "the guide's", rounds, args.quick, gain=True)
        part = table.part("whole", title, plan.columns())
        costs.measure(part, _variants(folder, labels), plan)
        part.notes.append("Every run came to the same result.json, byte for byte.")
    return front.verdict(table, args.out)


def _variants(folder: Path, labels: Path) -> list[Variant]:
    target = folder / "result.json"
    first: list[bytes] = []

    def check() -> dict[str, float]:
        found = target.read_bytes()
        first.append(found)
        if found != first[0]:
            raise PipelineError(f"two designs come to {first[0]!r} and {found!r}")
        return {}

    return [
        Variant(name, [Command(argv)], lambda: target.unlink(missing_ok=True), check)
        for name, argv in [(GUIDE, guide_argv(folder / "text", labels, target))]
        + [(name, our_argv(folder / form, labels, target)) for form, name in _FORM_NAMES.items()]
    ]


def guide_argv(results: Path, labels: Path, target: Path) -> list[str]:
    """Return the command line of the guide's design."""
    return harness.python("-m", "benchmarks.peers.guide_scorer", results, labels, target)


def our_argv(results: Path, labels: Path, target: Path) -> list[str]:
    """Return our command line."""
    script = harness.PROJECT / "vision_metric_ImageNet.py"
    return harness.python(script, results, labels, target.parent, target.name)


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
