"""`python3 -m pipeline compare`: runs side by side, and a gate for CI."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cli import door

_PROG = "python3 -m pipeline compare"
_MOST_SIDES = 26
_DESCRIPTION = """\
Compare runs with the first one given, the base: what changed in settings, accuracy, speed, and
which images are answered otherwise. A RUN is a work folder, whose runs are paired by their batch
size, or one run's result*.json or perf_*.txt file in a work folder.

With --max-drop or --max-slowdown it is a gate: the exit code is 1 where a limit is passed, and also
where it cannot be judged. Top1 is that of the images in common; where the dumps are gone, the
scores alone are judged, if they are of as many images. Speeds are judged at every batch size of the
base; one that is SMOKE, or was measured on another machine, is judged and said to be a hint only.
Without limits the exit code is 0 unless something cannot be read."""
_EXAMPLE = f"""\
{_PROG} work_fp32 work_int8 --max-drop 1 --max-slowdown 10
  {_PROG} work/result_bs1.json work/result_bs16.json --out compare.md"""


def main(argv: list[str], *, last: bool = False) -> int:
    """Compare, print, write, judge."""
    parser = door.Parser(_DESCRIPTION, _EXAMPLE)
    parser.prog = _PROG
    parser.add_argument(
        "runs", type=door.path, nargs="+", metavar="RUN", help="work folder, or a file of one run"
    )
    parser.add_argument(
        "--max-drop",
        type=_from_0_to_100,
        metavar="POINTS",
        help="fail where Top1 falls by more points of percent than this (default: never)",
    )
    parser.add_argument(
        "--max-slowdown",
        type=_from_0_to_100,
        metavar="PERCENT",
        help="fail where the Interface rate falls by more percent than this at a batch size "
        "(default: never)",
    )
    parser.add_argument(
        "--batch-size",
        type=door.whole_number(1, 9999),
        metavar="B",
        help="of work folders, only the runs of B images at a time (default: all)",
    )
    parser.add_argument(
        "--flips",
        type=door.whole_number(0),
        default=20,
        metavar="N",
        help="show N images of each kind of flip, the most confident first",
    )
    parser.add_argument(
        "--out",
        type=_report,
        action="append",
        metavar="FILE",
        help="write all of it as FILE.json, or what is shown as FILE.md; may be given for both "
        "(default: neither)",
    )

    def call(args: argparse.Namespace) -> door.Verdict:
        if not 2 <= len(args.runs) <= _MOST_SIDES:
            parser.error(f"give from 2 to {_MOST_SIDES} runs to compare, not {len(args.runs)}")
        from pipeline.compare import run
        from pipeline.compare.gate import Limits

        started = time.perf_counter()
        limits = Limits(args.max_drop, args.max_slowdown)
        targets = args.out or []
        found = run.compare(args.runs, limits, args.batch_size, args.flips, targets)
        text = f"{found.text}; {time.perf_counter() - started:.1f} s"
        if targets:
            text += f" -> {' '.join(map(str, targets))}"
        return door.Verdict(text, found.good)

    return door.enter(parser, call, argv, last=last)


def _from_0_to_100(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return number


def _report(text: str) -> Path:
    path = door.path(text)
    if path.suffix not in (".json", ".md"):
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither .json nor .md")
    return path
