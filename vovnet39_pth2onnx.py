#!/usr/bin/env python3
"""Turn a VoVNet checkpoint into ONNX, checked against torch before the file appears.

The ONNX file has opset 11, input `image` (N,3,224,224), output `class` (N,classes) and a free
batch size. The number of classes is that of the checkpoint. No code from the checkpoint is run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cli import door
from models_vovnet.family import ARCHS
from pipeline import progress
from pipeline.errors import PipelineError

EXAMPLE = "python3 vovnet39_pth2onnx.py vovnet39_torchvision.pth vovnet39.onnx"


def build_parser() -> door.Parser:
    """Return the parser of this stage."""
    parser = door.Parser(__doc__ or "", EXAMPLE)
    parser.add_argument(
        "weights",
        type=door.path,
        metavar="WEIGHTS",
        help="checkpoint (.pth): plain, DataParallel's or a training checkpoint",
    )
    parser.add_argument("onnx", type=door.path, metavar="ONNX", help="file to write")
    parser.add_argument(
        "--arch",
        type=door.choice(*ARCHS),
        default="vovnet39",
        metavar="ARCH",
        help="member of the family: vovnet27_slim, vovnet39 or vovnet57",
    )
    parser.add_argument(
        "--batch-size",
        type=door.whole_number(1, 1024),
        metavar="N",
        help="fix the batch size to N images (default: it is free)",
    )
    parser.add_argument(
        "--input",
        type=door.choice("float32", "uint8"),
        default="float32",
        metavar="KIND",
        help="float32: normalised NCHW tensors; uint8: NHWC RGB pixels, normalised in the model",
    )
    parser.add_argument(
        "--fetch",
        action="store_true",
        help="fetch the published checkpoint to WEIGHTS where that is not there",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="with --fetch: take the published checkpoint from there (default: its own address)",
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Fetch if asked to, then export."""
    if args.url and not args.fetch:
        build_parser().error("--url goes with --fetch")
    if args.fetch and args.arch != "vovnet39":
        build_parser().error("--fetch gets the published vovnet39, no other --arch")
    if not args.weights.exists() and not args.fetch:
        raise PipelineError(
            f"{args.weights}: no such file", "--fetch gets the published checkpoint there"
        )
    from pipeline import export

    export.check_paths(args.weights, args.onnx)
    if args.fetch:
        _fetch(args.weights, args.url)
    return door.Verdict(
        str(export.export(args.weights, args.onnx, args.arch, args.batch_size, args.input))
    )


def _fetch(weights: Path, url: str | None) -> None:
    from models_vovnet import published

    if weights.exists():
        progress.note(f"{weights} is there already; nothing is fetched")
    else:
        published.fetch(weights, url or published.DOWNLOAD_URL)


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
