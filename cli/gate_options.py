"""The options of judging a reduced precision, for every front door that judges one."""

from __future__ import annotations

import argparse

from cli import door
from pipeline import engines


def add_to(parser: door.Parser) -> None:
    """Add --judge-images, --labels, --max-drop, --engine and --threads."""
    parser.add_argument(
        "--judge-images",
        type=door.whole_number(1),
        default=1000,
        metavar="N",
        help="held-out pictures to judge on, at most; 300 is the least that can tell",
    )
    parser.add_argument(
        "--labels",
        type=door.path,
        metavar="FILE",
        help="label file of the held-out pictures (default: none, fp32's answers are the labels)",
    )
    parser.add_argument(
        "--max-drop",
        type=_points,
        default=1.0,
        metavar="POINTS",
        help="how much Top1 may fall, in points of percent",
    )
    parser.add_argument(
        "--engine",
        type=door.choice(engines.AUTO, *engines.names()),
        default=engines.AUTO,
        metavar="ENGINE",
        help=f"engine to judge in: {engines.AUTO} (the fastest here), {', '.join(engines.names())}",
    )
    parser.add_argument(
        "--threads",
        type=door.whole_number(1),
        metavar="N",
        help="threads of the engine (default: the usable cores)",
    )


def _points(text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = -1
    if not 0 <= points <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return points
