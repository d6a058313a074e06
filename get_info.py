#!/usr/bin/env python3
"""List the inputs of a benchmark run in an info file, sorted by name, the index running from 0.

`bin` lists the .bin files of a folder, all with the width and height given; `jpg` lists the JPEG
pictures of a folder, each with its own width and height. A line is: index, path, width, height.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from cli import door


class _Parser(door.Parser):
    """The number of arguments depends on the first one."""

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        args = super().parse(argv)
        if args.mode == "bin" and args.height is None:
            self.error("bin needs five arguments: bin DIR OUT W H")
        if args.mode == "jpg" and args.width is not None:
            self.error("jpg takes three arguments, the sizes come from the pictures: jpg DIR OUT")
        return args


def build_parser() -> door.Parser:
    """Return the command line of this stage."""
    parser = _Parser(
        __doc__,
        "python3 get_info.py bin ./prep_dataset ./vovnet_prep_bin.info 224 224\n"
        "  python3 get_info.py jpg /data/imagenet/val ./vovnet_val_jpg.info",
    )
    parser.add_argument("mode", type=door.choice("bin", "jpg"), metavar="MODE", help="bin or jpg")
    parser.add_argument("folder", type=door.path_text, metavar="DIR", help="the folder to list")
    parser.add_argument("info", type=door.path, metavar="OUT", help="the info file to write")
    size = door.whole_number(1, 100_000)
    parser.add_argument(
        "width",
        type=size,
        nargs="?",
        metavar="W",
        help="bin only: width of the network's input in pixels",
    )
    parser.add_argument(
        "height", type=size, nargs="?", metavar="H", help="bin only: its height in pixels"
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Write the info file."""
    from pipeline import listing

    started = time.perf_counter()
    if args.mode == "bin":
        listed = listing.list_bins(args.folder, args.info, args.width, args.height)
    else:
        listed = listing.list_pictures(args.folder, args.info)
    seconds = time.perf_counter() - started
    remarks = "".join(f"; {remark}" for remark in listed.remarks)
    return door.Verdict(f"{listed.count} files listed in {seconds:.1f} s -> {args.info}{remarks}")


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
