#!/usr/bin/env python3
"""Turn an fp32 ONNX model into an int8 one, and judge it before it appears.

Value ranges come from prepared pictures: at least 32 real ones, which an info file of get_info.py
lists. The int8 model is then compared with fp32 on at least 300 pictures that the ranges did not
come from. It is written only if it agrees in 97 % of them, has a signal to quantisation noise
ratio of 15 dB and, where there are labels, loses no more Top1 than is allowed; else nothing is
written and the exit code is 1. A network that was never trained cannot be judged: its int8 model is
written, and the verdict says so. The file is ordinary ONNX for ONNX Runtime and OpenVINO.
"""

from __future__ import annotations

import argparse
import sys

from cli import door, gate_options

EXAMPLE = (
    "python3 vovnet39_quantize.py vovnet39.onnx prep_bin.info vovnet39_int8.onnx "
    "--labels val_label.txt"
)


def build_parser() -> door.Parser:
    """Return the parser of this stage."""
    parser = door.Parser(__doc__ or "", EXAMPLE)
    parser.add_argument("model", type=door.path, metavar="MODEL", help="fp32 ONNX model")
    parser.add_argument(
        "calibration",
        type=door.path,
        metavar="CALIBRATION",
        help="info file of prepared pictures; ranges come from --images of them, spread evenly",
    )
    parser.add_argument("int8", type=door.path, metavar="INT8", help="ONNX file to write")
    parser.add_argument(
        "--images",
        type=door.whole_number(32),
        default=64,
        metavar="N",
        help="pictures to take ranges from; 64 to 128 are enough",
    )
    parser.add_argument(
        "--method",
        type=door.choice("minmax", "percentile", "entropy"),
        default="minmax",
        metavar="METHOD",
        help="how ranges are taken: minmax, percentile (99.999) or entropy",
    )
    parser.add_argument(
        "--reduce-range",
        type=door.choice("auto", "yes", "no"),
        default="auto",
        metavar="WHEN",
        help="7-bit weights: yes, no, or auto: only on an x86 processor without VNNI",
    )
    parser.add_argument(
        "--judge",
        type=door.path,
        metavar="INFO",
        help="info file of held-out pictures (default: the other pictures of CALIBRATION)",
    )
    parser.add_argument(
        "--no-judge", action="store_true", help="write the int8 model without judging it"
    )
    gate_options.add_to(parser)
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Quantise, judge, write."""
    if args.no_judge:
        _refuse_judging(args)
    from pipeline import precision, progress, quantize

    needed = quantize.needs_reduced_range()
    reduce = {"yes": True, "no": False}.get(args.reduce_range, needed)
    progress.detail(
        f"{7 if reduce else 8}-bit weights, for --reduce-range is {args.reduce_range}; this is "
        f"{'an' if needed else 'no'} x86 processor without VNNI"
    )
    gate = None
    if not args.no_judge:
        gate = precision.Gate(
            args.judge, args.judge_images, args.labels, args.max_drop, args.engine, args.threads
        )
    verdict = precision.make_int8(
        args.model,
        args.calibration,
        args.int8,
        args.images,
        quantize.Recipe(args.method, reduce),
        gate,
    )
    return door.Verdict(verdict.text, verdict.good)


def _refuse_judging(args: argparse.Namespace) -> None:
    """Refuse the options of judging, which would have no effect."""
    parser = build_parser()
    for name in ("judge", "judge_images", "labels", "max_drop", "engine", "threads"):
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} has no meaning together with --no-judge")


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
