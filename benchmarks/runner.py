#!/usr/bin/env python3
"""The runner: reading, batching and writing, without an engine and with a real one.

First with an engine that answers at once, so that the runner's own limit shows, beside a naive
loop: results as text, as binary files and in one file, written to memory and to the disk; every
number that was written is compared. Then with a real engine: the end-to-end rate beside the
Interface rate, which is the engine's own. Then from pictures to TopN: the detour over prepared
files beside the straight way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import costs, front, inputs, places, real_engine
from benchmarks.costs import Plan, Variant
from benchmarks.runner_alone import Bench
from benchmarks.table import Table
from cli import door
from models_vovnet.family import ARCHS

SAMPLES, QUICK_SAMPLES = 5000, 100
IMAGES, QUICK_IMAGES = 512, 16
ROUNDS = 5
BATCH = 16
NAIVE = f"naive loop, text, batch {BATCH}"
BYTES_PER_RESULT = 24_000


def build_parser() -> door.Parser:
    """Return the parser of this benchmark."""
    parser = front.parser("runner", __doc__ or "")
    number = door.whole_number(1)
    parser.add_argument(
        "--samples",
        type=number,
        metavar="N",
        help=f"tensors without an engine (default: {SAMPLES}, with --quick {QUICK_SAMPLES})",
    )
    parser.add_argument(
        "--images",
        type=number,
        metavar="N",
        help=f"pictures with an engine (default: {IMAGES}, with --quick {QUICK_IMAGES})",
    )
    parser.add_argument(
        "--arch",
        type=door.choice(*ARCHS),
        default="vovnet39",
        metavar="ARCH",
        help="network of the parts with an engine",
    )
    parser.add_argument(
        "--no-engine", action="store_true", help="only the runner alone, without a real engine"
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Measure all parts."""
    samples = args.samples or (QUICK_SAMPLES if args.quick else SAMPLES)
    images = args.images or (QUICK_IMAGES if args.quick else IMAGES)
    rounds = args.rounds or ROUNDS
    table = Table(
        "runner",
        "The runner: tensors to results",
        quick=args.quick,
        settings={"samples": samples, "images": images, "batch": BATCH},
    )
    table.note_versions("numpy", "orjson", "onnxruntime", "openvino")
    plan = Plan("images", samples, NAIVE, "the naive loop", rounds, args.quick, gain=True)
    _alone(table, plan, args.work_dir)
    if not args.no_engine:
        real_engine.measure(table, args.arch, images, BATCH, rounds, args.quick, args.work_dir)
    return front.verdict(table, args.out)


def _alone(table: Table, plan: Plan, chosen: Path | None) -> None:
    """Measure without an engine, writing to memory where there is some, and to the disk."""
    need = plan.count * inputs.TENSOR_BYTES
    with places.scratch(need, chosen, in_memory=False) as given:
        info = inputs.make_tensors(given, plan.count)
        model = inputs.save_small_model(given / "model.onnx")
        outputs = plan.count * BYTES_PER_RESULT
        kinds = []
        for in_memory in (True, False):
            with places.scratch(outputs, chosen, in_memory) as folder:
                kind = places.kind(folder)
                if kind in kinds:
                    continue
                kinds.append(kind)
                title = f"Without an engine, {plan.count:,} samples, results on {kind}"
                part = table.part(f"alone_{kind}", title, plan.columns())
                bench = Bench(model, info, folder, plan.count, plan.count)
                costs.measure(part, _variants(bench), plan)
                part.notes.append("Every number that was written is the engine's.")


def _variants(bench: Bench) -> Sequence[Variant]:
    return [
        bench.naive("text", BATCH),
        bench.naive("binary", BATCH),
        bench.ours("text", BATCH),
        bench.ours("text", 1),
        bench.ours("binary", BATCH),
        bench.ours("npy", BATCH),
    ]


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
