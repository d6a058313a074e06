#!/usr/bin/env python3
"""Prepare ImageNet pictures for the network: decode, resize, crop, normalise.

Each picture becomes one file <name before the first dot>.bin in the output folder: float32, 3 x 224
x 224, exactly as torchvision's Resize(256), CenterCrop(224), ToTensor and Normalize give it. The
image folder is flat, as the guide has it, or has one sub-folder per class; then the labels, the
positions of the sorted class names, are written as well, to val_label.txt in the output folder.
Links are followed. After a run that was cut short, or once images have changed, the same command
makes what is missing and keeps the rest.
"""

from __future__ import annotations

import argparse
import sys

from cli import door

SHOWN = 20  # refused images named on the screen; the record has them all


def build_parser() -> door.Parser:
    """Return the command line of this stage."""
    parser = door.Parser(
        __doc__, "python3 vovnet_torch_preprocess.py /data/imagenet/val ./prep_dataset"
    )
    parser.add_argument("source", type=door.path, metavar="SRC", help="folder with the images")
    parser.add_argument("target", type=door.path, metavar="DST", help="folder for the .bin files")
    parser.add_argument(
        "--workers",
        type=door.whole_number(1, 1024),
        metavar="N",
        help="processes, each with one thread (default: one per usable core, or fewer where the "
        "memory is small)",
    )
    parser.add_argument(
        "--limit",
        type=door.whole_number(1),
        metavar="N",
        help="only N images: the first by name; of class folders the first of each, "
        "then the second, and so on (default: all)",
    )
    parser.add_argument(
        "--dtype",
        type=door.choice("float32", "uint8"),
        default="float32",
        metavar="TYPE",
        help="float32: normalised, 602,112 bytes; uint8: the cropped pixels, 224 x 224 x 3, "
        "150,528 bytes, for a model that normalises itself",
    )
    parser.add_argument(
        "--force", action="store_true", help="make all files anew, those of earlier runs as well"
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Prepare the folder and name what was refused."""
    from pipeline import record
    from pipeline.prepare import prepare_folder

    made = prepare_folder(
        args.source, args.target, args.workers, args.limit, args.dtype, args.force
    )
    for path, reason in made.refused[:SHOWN]:
        door.complain(f"refused: {path} {reason}")
    if len(made.refused) > SHOWN:
        where = record.path_of(args.target)
        left = len(made.refused) - SHOWN
        door.complain(f"refused: {left} more, all of them in {where}")
    total = made.done + len(made.refused)
    text = f"{made.done} of {total} images prepared"
    if made.kept:
        text += f" ({made.kept} kept from before)"
    if made.refused:
        text += f", {len(made.refused)} refused"
    if made.passed_over:
        text += f", {made.passed_over} other files passed over"
    text += f", {args.dtype}, in {made.seconds:.1f} s"
    if worked := total - made.kept:
        text += f" ({worked / made.seconds:.0f} images/s)"
    text += f" -> {args.target}"
    if made.labels:
        text += f", labels in {made.labels}"
    return door.Verdict(text, good=not made.refused)


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
