"""`python3 -m pipeline report`: a work folder as one page that people look at.

The front door of `pipeline.report`.
"""

from __future__ import annotations

import argparse
import time

from cli import door

_PROG = "python3 -m pipeline report"


def main(argv: list[str], *, last: bool = False) -> int:
    """Write the report of a work folder, and the same data as JSON, CSV and Markdown."""
    return door.enter(_parser(), _call, argv, last=last)


def _parser() -> door.Parser:
    parser = door.Parser(
        "Make one page of a work folder: verdicts, accuracy, speed beside the published figures,\n"
        "time, latency, memory, accuracy per class, confusions, wrong images, what ran. It is one\n"
        "file that needs no network. Beside it, by its stem, lie the same data: .json, .md, and\n"
        "_runs.csv, _classes.csv, _wrong.csv. What a folder does not tell is said, not left out.",
        f"{_PROG} work --out report.html",
    )
    parser.prog = _PROG
    parser.add_argument(
        "work",
        type=door.path,
        nargs="?",
        metavar="WORK_DIR",
        help="the folder of the run (default: that of run_all.sh)",
    )
    parser.add_argument(
        "--out",
        type=door.path,
        metavar="FILE.html",
        help="the page to write (default: report.html in the work folder)",
    )
    parser.add_argument(
        "--images",
        type=door.path,
        metavar="FOLDER",
        help="where the images are, for the gallery (default: where the records say)",
    )
    parser.add_argument(
        "--gallery",
        type=door.whole_number(0, 500),
        default=48,
        metavar="N",
        help="show so many wrong images",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="the checkpoint is the published one, where no record tells",
    )
    parser.add_argument(
        "--soc-version",
        metavar="NAME",
        help="the card's chip, as in Ascend310P3 (default: what the records say)",
    )
    return parser


def _call(args: argparse.Namespace) -> door.Verdict:
    from pipeline import identity, report
    from pipeline.report.gather import Options

    started = time.perf_counter()
    work = args.work or identity.PROJECT / "work"
    options = Options(args.images, args.gallery, args.published, args.soc_version)
    made = report.make(work, args.out or work / "report.html", options)
    runs = len(made.report.runs)
    wrong = made.report.per_class.wrong_images if made.report.per_class else 0
    return door.Verdict(
        f"{runs} run{'' if runs == 1 else 's'}, {made.pictures} of {wrong} wrong images shown, "
        f"{len(made.others) + 1} files, {made.size:,} bytes in "
        f"{time.perf_counter() - started:.1f} s -> {made.page}"
    )
