#!/usr/bin/env python3
"""Engines: ours beside PyTorch, ONNX Runtime, OpenVINO, ncnn and MNN, in fp32, bf16 and int8.

Each engine lives in a process of its own and is visited in turn for about half a second; visits
during which other processes were busy are made again. Before its speed counts, its outputs are
compared to those of PyTorch in fp32. An engine that is not installed, or that cannot do a
precision here, is named as missing; benchmarks/requirements.txt installs them all.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import front, harness, network, places, stats
from benchmarks.engine_process import EngineProcess, Missing, convert
from benchmarks.engine_worker import Task
from benchmarks.harness import Gate, Visit
from benchmarks.peers.engines import Models
from benchmarks.table import Column, Part, Table
from cli import door
from models_vovnet.family import ARCHS
from pipeline import machine, progress
from pipeline.errors import PipelineError

ROUNDS, VISIT_S = 7, 0.5
QUICK_VISIT_S = 0.05
BATCHES, QUICK_BATCHES = (1, 4, 16), (1,)
PATIENCE_PER_VARIANT = 4
NEEDED_BYTES = 1_000_000_000
ORT, TORCH = "ONNX Runtime fp32", "torch eager fp32"
PACKAGES = ("torch", "onnxruntime", "openvino", "ncnn", "pnnx", "MNN")


@dataclass(frozen=True)
class Limit:
    """What outputs have to be to count; both are against torch in fp32."""

    most_difference: float = np.inf  # greatest relative difference
    least_sqnr_db: float = -np.inf
    most_sqnr_db: float = np.inf  # above it, the precision is not what was asked for


EXACT = Limit(most_difference=1e-4)
WINOGRAD = Limit(most_difference=2e-2)  # its transforms cost digits
# bf16 has 8 bits of significand, int8 7 bits of value; a random network's logits keep less of the
# signal than a trained one's, so these tell a broken model, not a worse one.
BF16 = Limit(least_sqnr_db=15, most_sqnr_db=42)
INT8 = Limit(least_sqnr_db=6, most_sqnr_db=42)


@dataclass(frozen=True)
class Variant:
    """A row: an engine's module under `benchmarks/peers/engines/`, a precision, an option."""

    name: str
    module: str
    precision: str
    limit: Limit
    option: str = ""

    @property
    def is_ours(self) -> bool:
        """Say whether this is the project's own path."""
        return self.module == "ours"


VARIANTS = (
    Variant("ours fp32", "ours", "fp32", EXACT),
    Variant("ours bf16", "ours", "bf16", BF16),
    Variant("ours int8", "ours", "int8", INT8),
    Variant(TORCH, "torch_eager", "fp32", EXACT),
    Variant("torch eager fp32, channels last", "torch_eager", "fp32", EXACT, "channels_last"),
    Variant("torch eager bf16, channels last", "torch_eager", "bf16", BF16, "channels_last"),
    Variant("torch compiled fp32", "torch_compiled", "fp32", EXACT),
    Variant("torch compiled bf16", "torch_compiled", "bf16", BF16),
    Variant(ORT, "onnx_runtime", "fp32", EXACT),
    Variant("ONNX Runtime int8", "onnx_runtime", "int8", INT8),
    Variant("OpenVINO fp32, latency", "open_vino", "fp32", EXACT, "latency"),
    Variant("OpenVINO fp32, throughput", "open_vino", "fp32", EXACT, "throughput"),
    Variant("OpenVINO bf16, latency", "open_vino", "bf16", BF16, "latency"),
    Variant("OpenVINO bf16, throughput", "open_vino", "bf16", BF16, "throughput"),
    Variant("OpenVINO int8, latency", "open_vino", "int8", INT8, "latency"),
    Variant("OpenVINO int8, throughput", "open_vino", "int8", INT8, "throughput"),
    Variant("ncnn fp32", "ncnn_direct", "fp32", WINOGRAD),
    Variant("ncnn bf16", "ncnn_direct", "bf16", BF16),
    Variant("MNN fp32", "mnn_direct", "fp32", WINOGRAD),
    Variant("MNN bf16", "mnn_direct", "bf16", BF16),
)
CONVERTED = ("ncnn_direct", "mnn_direct")

COLUMNS = (
    Column("rate", "images/s", ".1f"),
    Column("to_ort", "/ ONNX Runtime fp32", ".2f", "x"),
    Column("to_torch", "/ torch eager fp32", ".2f", "x"),
    Column("difference", "greatest difference to torch", ".1e"),
    Column("sqnr_db", "SQNR", ".0f", " dB"),
    Column("peak_mb", "peak memory (RSS)", ".0f", " MB"),
    Column("load_s", "load", ".1f", " s"),
    Column("version", "in force"),
)


def build_parser() -> door.Parser:
    """Return the parser of this benchmark."""
    parser = front.parser("engines", __doc__ or "")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="a checkpoint (default: seeded random weights)",
    )
    parser.add_argument(
        "--arch",
        type=door.choice(*ARCHS),
        default="vovnet39",
        metavar="ARCH",
        help="member of the family: vovnet27_slim, vovnet39 or vovnet57",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="WORD",
        help="only the rows with this word in their name, and the two that ratios are made with;"
        " may be given several times (default: all)",
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Make the network in all its forms, then measure batch size by batch size."""
    chosen = [v for v in VARIANTS if _is_chosen(v, args.only)]
    if args.weights and not args.weights.is_file():
        raise PipelineError(f"{args.weights}: no such file", "give a checkpoint with --weights")
    with places.scratch(NEEDED_BYTES, args.work_dir) as folder:
        models = Models(folder, args.arch)
        network.make(models, args.arch, args.weights, args.quick)
        threads = machine.usable_cores()
        table = Table(
            "engines",
            f"Engines: images a second of {args.arch} alone",
            quick=args.quick,
            settings={
                "network": f"{args.arch}, {'own' if args.weights else 'random'} weights",
                "threads": threads,
                "visit_s": QUICK_VISIT_S if args.quick else VISIT_S,
            },
        )
        table.note_versions(*PACKAGES)
        absent = _convert(chosen, models)
        for batch in QUICK_BATCHES if args.quick else BATCHES:
            _measure(table, chosen, absent, models, batch, args)
    _refuse_our_failure(table)
    return front.verdict(table, args.out)


def _is_chosen(variant: Variant, only: list[str] | None) -> bool:
    if not only or variant.name in (ORT, TORCH):
        return True
    return any(word.lower() in variant.name.lower() for word in only)


def _convert(chosen: list[Variant], models: Models) -> dict[str, str]:
    """Have the engines that need it make their files; return module -> why it could not."""
    absent = {}
    for module in CONVERTED:
        if any(variant.module == module for variant in chosen):
            try:
                convert(module, models)
            except Missing as reason:
                absent[module] = str(reason)
    return absent


def _measure(
    table: Table,
    chosen: list[Variant],
    absent: Mapping[str, str],
    models: Models,
    batch: int,
    args: argparse.Namespace,
) -> None:
    """Add the part of one batch size to `table`."""
    part = table.part(f"batch_{batch}", f"Batch {batch}", COLUMNS)
    seconds = QUICK_VISIT_S if args.quick else VISIT_S
    with _opened(part, chosen, absent, models, batch) as processes:
        gate = Gate(0 if args.quick else PATIENCE_PER_VARIANT * len(processes))
        calls = {
            name: (lambda process=process: process.visit(seconds))
            for name, process in processes.items()
        }
        rounds = args.rounds or (1 if args.quick else ROUNDS)
        visits = harness.interleave(calls, rounds, gate, f"batch {batch}")
    _fill(part, visits)
    part.rounds = {
        "gate": gate.to_json(),
        "visits": {name: [v.to_json() for v in seen] for name, seen in visits.items()},
    }
    part.notes.append(
        f"Median (least-greatest) of {rounds} interleaved visits of about {seconds} s; ratios are"
        f" of one round each. {gate.sentence()}"
    )


@contextlib.contextmanager
def _opened(
    part: Part, chosen: list[Variant], absent: Mapping[str, str], models: Models, batch: int
) -> Iterator[dict[str, EngineProcess]]:
    """Yield name -> process of the variants whose outputs are right; name the others as missing."""
    reference = np.load(models.reference)
    outputs = models.folder / "outputs.npy"
    with contextlib.ExitStack() as stack:
        processes = {}
        for variant in chosen:
            progress.note(f"batch {batch}: load {variant.name}")
            if variant.module in absent:
                part.missing[variant.name] = absent[variant.module]
                continue
            fields = (variant.module, variant.precision, variant.option, batch)
            threads = machine.usable_cores()
            try:
                process = EngineProcess(
                    Task(*fields, threads, str(models.folder), models.arch, str(outputs))
                )
            except Missing as reason:
                part.missing[variant.name] = str(reason)
                continue
            stack.callback(process.close)
            cells, wrong = judge(reference, np.load(outputs), variant.limit)
            if wrong:
                part.missing[variant.name] = wrong
                process.close()
                continue
            answer = process.answer
            part.add(variant.name, **cells, load_s=answer["load_s"], version=_in_force(answer))
            processes[variant.name] = process
        yield processes


def judge(reference: Any, logits: Any, limit: Limit) -> tuple[dict[str, float | None], str]:
    """Return the cells of how far `logits` are from `reference`, and why they do not count, if so.

    SQNR is None where they are equal.
    """
    logits = np.asarray(logits)[: len(reference)]
    if logits.shape != reference.shape or not np.isfinite(logits).all():
        return {}, "its outputs are no logits"
    difference = stats.greatest_relative_difference(reference, logits)
    sqnr = stats.signal_to_noise_db(reference, logits)
    cells = {"difference": difference, "sqnr_db": sqnr if np.isfinite(sqnr) else None}
    found = f"greatest relative difference to torch {difference:.1e}, SQNR {sqnr:.0f} dB"
    if difference > limit.most_difference or sqnr < limit.least_sqnr_db:
        return cells, f"its outputs are wrong ({found})"
    if sqnr > limit.most_sqnr_db:
        return cells, f"it computes in a higher precision than asked for ({found})"
    return cells, ""


def _in_force(answer: Mapping[str, Any]) -> str:
    streams = answer["streams"]
    return str(answer["version"]) + (f", {streams} requests" if streams > 1 else "")


def _fill(part: Part, visits: Mapping[str, list[Visit]]) -> None:
    rates = {name: harness.column(seen, "rate") for name, seen in visits.items()}
    for name, mine in rates.items():
        peak = max(harness.column(visits[name], "peak_bytes"))
        part.add(name, rate=stats.spread(mine), peak_mb=peak / 1e6 if peak else None)
        for key, base in (("to_ort", ORT), ("to_torch", TORCH)):
            if base in rates:
                part.add(name, **{key: stats.spread(stats.ratios(mine, rates[base]))})


def _refuse_our_failure(table: Table) -> None:
    """PipelineError where our fp32 is missing, which every machine can do."""
    for part in table.parts:
        for variant in VARIANTS:
            if variant.is_ours and variant.precision == "fp32" and variant.name in part.missing:
                raise PipelineError(f"{variant.name}: {part.missing[variant.name]}")


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
