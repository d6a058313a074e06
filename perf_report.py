#!/usr/bin/env python3
"""Put the figures of perf files into one table: batch, Interface rate, card rate, end to end.

Takes any number of the benchmark tool's files, old tags or new: perf_vision_batchsize_<B>_...txt
of data-set runs and PureInfer_perf_of_<model>_...txt of pure inference; and the summaries of
ais_bench, <folder>_summary.json. Rates are samples/s, the latency is that of one inference call per
sample (of ais_bench: of its execution alone).

The card rate is the Interface rate times the chips on a card: as --chips says; without it 1 for
what benchmark.py measured on this machine's processor (its record beside the file tells) and for a
file of several devices together, else 4 as on an Ascend 310.

The verdict is that of the record: QUOTABLE, or SMOKE with what to change below the table. Without a
record it is unknown.
"""

from __future__ import annotations

import argparse
import sys

from cli import door


def build_parser() -> door.Parser:
    """Return the parser; its help text is this file's docstring."""
    parser = door.Parser(
        __doc__ or "", "python3 perf_report.py result/perf_vision_batchsize_*_device_*.txt"
    )
    parser.add_argument("files", type=door.path, nargs="+", metavar="FILE", help="perf file")
    parser.add_argument(
        "--chips",
        type=door.whole_number(1),
        metavar="N",
        help="chips on a card (default: as told above)",
    )
    parser.add_argument(
        "--json", action="store_true", help="JSON on stdout; the verdict goes to stderr"
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Read the files and print the table."""
    import json
    import time

    from pipeline import speeds, table

    started = time.perf_counter()
    rows = speeds.read_all(args.files, args.chips)
    if args.json:
        sys.stdout.write(json.dumps(speeds.to_json(rows), indent=1) + "\n")
    else:
        table.show(speeds.HEADINGS, map(speeds.cells, rows), left="run")
        for caption in speeds.captions(rows):
            door.say(caption)
    best = max(rows, key=lambda row: row.card_rate)
    seconds = time.perf_counter() - started
    files = "1 perf file" if len(rows) == 1 else f"{len(rows)} perf files"
    return door.Verdict(
        f"{files} in {seconds:.2f} s, best card rate {best.card_rate:.10g} -> {best.file}",
        aside=args.json,
    )


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
