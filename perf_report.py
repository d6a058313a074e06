#!/usr/bin/env python3
"""Put the figures of perf files into one table: batch, Interface rate, card rate, end to end.

Takes any number of the benchmark tool's files, old tags or new: perf_vision_batchsize_<B>_...txt
of data-set runs and PureInfer_perf_of_<model>_...txt of pure inference. Rates are samples/s, the
latency is that of one inference call per sample.

The card rate is the Interface rate times the chips on a card: as --chips says; without it 1 for
what benchmark.py measured on this machine (its record beside the file tells), else 4 as on an
Ascend 310.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli import door

if TYPE_CHECKING:
    from pipeline.report import Row


def build_parser() -> door.Parser:
    """Return the parser; its help text is this file's docstring."""
    parser = door.Parser(
        __doc__ or "", "python3 perf_report.py result/perf_vision_batchsize_*_device_*.txt"
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="perf file")
    parser.add_argument(
        "--chips", type=door.whole_number(1), metavar="N", help="chips on a card (see above)"
    )
    parser.add_argument(
        "--json", action="store_true", help="JSON on stdout; the verdict goes to stderr"
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Read the files and print the table."""
    import json
    import time

    from pipeline import report

    started = time.perf_counter()
    rows = report.read_all(args.files, args.chips)
    if args.json:
        sys.stdout.write(json.dumps(report.to_json(rows), indent=1) + "\n")
    else:
        _show(rows)
    best = max(rows, key=lambda row: row.card_rate)
    seconds = time.perf_counter() - started
    files = "1 perf file" if len(rows) == 1 else f"{len(rows)} perf files"
    return door.Verdict(
        f"{files} in {seconds:.2f} s, best card rate {best.card_rate:.10g} -> {best.file}",
        aside=args.json,
    )


def _show(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    from pipeline import report

    # Without a terminal nothing must be cut or folded to fit one.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in report.HEADINGS:
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for row in rows:
        table.add_row(*report.cells(row))
    console.print(table)
    for caption in report.captions(rows):
        console.print(caption)


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
