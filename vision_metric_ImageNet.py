#!/usr/bin/env python3
"""Score the dumps of a run against the labels: Top1 to Top5, and result.json.

DUMP is the folder that benchmark.py filled, such as result/dumpOutput_device0: text or binary
dumps, or the arrays of -dump=npy. What Huawei's tool, ais_bench and msame leave is taken as it is:
text in one row or several, .npy, folders of several devices (scored as one set), and the folder
around that of a single run. Outputs may be numbered from 0 or 1; of several per image the first is
scored. Files that are no dumps, such as a summary, are passed over and counted. With 1001 outputs
the first is the background, and label n stands for output n + 1.

LABELS has one line per image: its name and its class from 0, such as
  ILSVRC2012_val_00000001.JPEG 65

The total must match: the dumps must be as many as the images that the run was given, as the record
beside DUMP says. Dumps of other tools have no record; then every image of LABELS must be there, or
--images must say how many the run was given.

A full run of 50,000 images is compared with the published figures; a miss is printed and does not
change the exit code, since another checkpoint has figures of its own. OUTDIR is made where it is
missing; a failed run leaves an older result as it was.
"""

from __future__ import annotations

import argparse
import sys

from cli import door


def build_parser() -> door.Parser:
    """Return the parser; its help text is this file's docstring."""
    parser = door.Parser(
        __doc__ or "",
        "python3 vision_metric_ImageNet.py result/dumpOutput_device0/ val_label.txt ./ result.json",
    )
    parser.add_argument("dump", type=door.path, metavar="DUMP", help="folder of dumps")
    parser.add_argument("labels", type=door.path, metavar="LABELS", help="label file")
    parser.add_argument("outdir", type=door.path, metavar="OUTDIR", help="folder of the result")
    parser.add_argument("name", type=_file_name, metavar="NAME", help="name of the result")
    parser.add_argument(
        "--images",
        type=door.whole_number(1),
        metavar="N",
        help="number of images that the run was given (default: as its record says)",
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Score, write the result and print the figures."""
    import gc
    import os
    import time

    # Nothing here multiplies matrices, and OpenBLAS's threads wait for it at full load.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What is imported stays to the end: looking through it for garbage takes a tenth of the time.
    gc.disable()
    from pipeline import scoring

    gc.freeze()
    gc.enable()
    started = time.perf_counter()
    target = args.outdir / args.name
    score = scoring.score_to_file(args.dump, args.labels, target, args.images)
    low, high = (f"{end * 100:.2f}%" for end in score.top1_interval)
    for place, accuracy in enumerate(score.accuracies):
        line = f"Top{place + 1} accuracy: {round(accuracy * 100, 2)}%"
        if place == 0:
            line += f" ({score.hits[0]} of {score.images}, 95% interval {low} to {high})"
        door.say(line)
    if comparison := scoring.compare(score):
        door.say(comparison)
    seconds = time.perf_counter() - started
    return door.Verdict(f"{', '.join(scoring.describe(score))} in {seconds:.2f} s -> {target}")


def _file_name(text: str) -> str:
    if not text or text in (".", "..") or "/" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no file name; the folder goes before it")
    return text


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
