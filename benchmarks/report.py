#!/usr/bin/env python3
"""Make docs/performance.md out of the tables that were measured last.

The numbers are those of benchmarks/results/*.json and of nothing else. Quick looks are left out;
a table that was never measured is named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import table
from benchmarks.table import RESULTS
from cli import door
from pipeline import atomic
from pipeline.errors import PipelineError

TABLES = ("preprocess", "engines", "runner", "scoring", "scaling")
TARGET = Path(__file__).resolve().parent.parent / "docs" / "performance.md"

_HEAD = """# Performance

Every number below comes from a measured file in `benchmarks/results/`; this page is made of those
files by `python3 -m benchmarks.report`, and what it says holds for the machine that each table
names. To measure on yours:

```
source env.sh
pip install -r benchmarks/requirements.txt     # the peers; what is missing is named in the table
{commands}
python3 -m benchmarks.report                   # this page, made anew
```

Each command takes `--quick` for a short look, which is kept apart from the measured tables. The
designs that we are compared with are in `benchmarks/peers/`, each written anew for this purpose.

How it is measured: designs take turns, round by round, each as a command or a process of its own; a
visit during which other processes kept the machine busy is made again; figures are medians with
their least and greatest value, ratios are of one round each; and no time counts before every byte
that was written, or every output of an engine, has been compared. Times differ from machine to
machine and ratios much less, so it is the ratios that say something.
"""


def build_parser() -> door.Parser:
    """Return the parser of this command."""
    parser = door.Parser(__doc__ or "", "python3 -m benchmarks.report")
    parser.prog = table.command("report")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the tables lie"
    )
    parser.add_argument(
        "--out", type=Path, default=TARGET, metavar="FILE", help="the page to write"
    )
    return parser


def call(args: argparse.Namespace) -> door.Verdict:
    """Write the page."""
    text = page(args.results)
    atomic.write_text(args.out, text)
    measured = sum((args.results / f"{name}.json").exists() for name in TABLES)
    return door.Verdict(f"{measured} of {len(TABLES)} tables -> {args.out}")


def page(results: Path) -> str:
    """Return the page; PipelineError where there is no table, or one is broken."""
    parts, absent = [], []
    for name in TABLES:
        path = results / f"{name}.json"
        if path.exists():
            parts.append(table.to_markdown(table.load(path), level=2))
        else:
            absent.append(name)
    if not parts:
        raise PipelineError(
            f"{results} holds no measured table", f"measure one: {table.command(TABLES[0])}"
        )
    if absent:
        commands = ", ".join(f"`{table.command(name)}`" for name in absent)
        parts.append(f"Not measured yet: {commands}.\n")
    commands = "\n".join(table.command(name) for name in TABLES)
    return "\n".join([_HEAD.format(commands=commands), *parts])


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
