"""Commands beside the guide's: `python3 -m pipeline COMMAND ...`.

sample   make the bundled sample: pictures, labels and a checkpoint that tells them apart
current  say by the exit code whether a stage's output is still what its command would make
summary  print the table of a whole run: accuracy, speed, where the files are
report   make one page of a work folder that people look at; JSON, CSV and Markdown beside it
compare  set runs side by side: settings, accuracy, speed, flipped answers; a gate for CI
diagnose find the first place where a converted model's numbers part from its source's, and why
judge    compare a reduced precision with fp32 on held-out pictures: may it be trusted?
ascend   what run_all.sh --device ascend does: find, aipp, atc, measure, state, table
collect  put what a report of a run on a card needs into one archive, without user data
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cli import door


def sample(argv: list[str]) -> int:
    """Make the sample in a folder: images/, val_label.txt and vovnet39_sample.pth."""
    parser = door.Parser(
        "Make the bundled sample: some hundreds of pictures of many kinds and formats, their\n"
        "labels, and a VoVNet-39 checkpoint in the published form that tells them apart.",
        "python3 -m pipeline sample work/sample",
    )
    parser.prog = "python3 -m pipeline sample"
    parser.add_argument("folder", type=door.path, metavar="FOLDER", help="where to make it")
    parser.add_argument("--force", action="store_true", help="make it anew, whole or not")

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline.sample import make_sample

        started = time.perf_counter()
        made = make_sample(args.folder, args.force)
        return door.Verdict(f"{made} in {time.perf_counter() - started:.1f} s -> {args.folder}")

    return door.enter(parser, call, argv, last=__name__ == "__main__")


CURRENT = """Say by the exit code whether OUTPUT is what running this command again would make.

0: it is complete, and nothing that it rests on has changed; 1: it is to be made anew. With
--verbose the reason is told.

example:
  python3 -m pipeline current vovnet39.onnx vovnet39_pth2onnx.py vovnet39.pth vovnet39.onnx"""


def current(argv: list[str]) -> int:
    """Exit 0 where OUTPUT is complete and running the command would make it again as it is."""
    usage = "usage: python3 -m pipeline current [--verbose] OUTPUT SCRIPT [ARGUMENT ...]"
    if argv[:1] in (["-h"], ["--help"]):
        sys.stdout.write(f"{usage}\n\n{CURRENT}\n")
        return door.EXIT_GOOD
    verbose = argv[:1] in (["-v"], ["--verbose"])
    argv = argv[verbose:]
    if len(argv) < 2:
        door.complain(usage)
        return door.EXIT_USAGE
    from pipeline import lock, record

    output, script, *arguments = argv
    command = [str(Path(script).absolute()), *arguments]
    try:
        reason = record.why_not_current(Path(output), command)
        if not reason:
            lock.clear_away(Path(output))
            return door.EXIT_GOOD
        if verbose:
            door.complain(f"  {output} is made anew: {reason}")
    except Exception as error:
        # A record is a file like any other; whatever is wrong with it, its stage can run.
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        door.complain(f"{output} is made anew: its record cannot be checked ({reason})")
    return door.EXIT_FAILED


def summary(argv: list[str]) -> int:
    """Print the table of a whole run from its result and perf files."""
    parser = door.Parser(
        "Print the table of a whole run: for each batch size its result file and its perf file.",
        "python3 -m pipeline summary result_bs1.json result/perf_vision_batchsize_1_device_0.txt",
    )
    parser.prog = "python3 -m pipeline summary"
    parser.add_argument(
        "files", type=door.path, nargs="+", metavar="RESULT PERF", help="two at a time"
    )

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline import summary as table

        started, files = time.perf_counter(), args.files
        if len(files) % 2:
            parser.error("each result file needs its perf file")
        rows = [table.read_row(*pair) for pair in zip(files[::2], files[1::2], strict=True)]
        table.show(rows)
        missing = sum((row.result is None) + (row.perf is None) for row in rows)
        without = f", {missing} of {len(files)} files missing" if missing else ""
        sizes = "1 batch size" if len(rows) == 1 else f"{len(rows)} batch sizes"
        seconds = time.perf_counter() - started
        return door.Verdict(f"{sizes}{without} in {seconds:.2f} s -> {Path.cwd()}")

    return door.enter(parser, call, argv, last=__name__ == "__main__")


def report(argv: list[str]) -> int:
    """Make one page of a work folder."""
    from cli import report_command

    return report_command.main(argv, last=__name__ == "__main__")


def compare(argv: list[str]) -> int:
    """Hand over to the command that sets runs side by side."""
    from cli import compare_command

    return compare_command.main(argv, last=__name__ == "__main__")


def diagnose(argv: list[str]) -> int:
    """Hand over to the command that says why accuracy dropped."""
    from cli import diagnose_command

    return diagnose_command.main(argv, last=__name__ == "__main__")


def judge(argv: list[str]) -> int:
    """Judge bf16, or an int8 model, beside fp32; exit 0 where it may be trusted."""
    from cli import gate_options

    parser = door.Parser(
        "Compare a reduced precision of a model with fp32 on prepared pictures that it was not\n"
        "calibrated on: Top1 and Top5, agreement of the answers, and the signal to quantisation\n"
        "noise ratio of the logits. The exit code is 0 only where the precision may be trusted: "
        "not\nbeyond a limit, not on fewer than 300 pictures, not for a network that was never "
        "trained.",
        "python3 -m pipeline judge vovnet39.onnx prep_bin.info --labels val_label.txt",
    )
    parser.prog = "python3 -m pipeline judge"
    parser.add_argument("model", type=door.path, metavar="MODEL", help="fp32 model")
    parser.add_argument(
        "info", type=door.path, metavar="INFO", help="info file of prepared pictures"
    )
    parser.add_argument(
        "--precision",
        type=door.choice("bf16"),
        default="bf16",
        metavar="NAME",
        help="precision to judge: bf16",
    )
    parser.add_argument(
        "--int8",
        type=door.path,
        metavar="FILE",
        help="judge this int8 model (default: none, --precision is judged)",
    )
    parser.add_argument(
        "--out",
        type=door.path,
        metavar="FILE",
        help="write the figures there, as JSON (default: nowhere)",
    )
    gate_options.add_to(parser)

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline import precision

        gate = precision.Gate(
            args.info, args.judge_images, args.labels, args.max_drop, args.engine, args.threads
        )
        verdict = precision.judge_precision(args.model, args.int8, args.precision, gate, args.out)
        return door.Verdict(verdict.text, verdict.good)

    return door.enter(parser, call, argv, last=__name__ == "__main__")


def collect(argv: list[str]) -> int:
    """Write versions, chip, logs, figures and records to one archive, names masked."""
    parser = door.Parser(
        "Put what a report of a run on a card needs into one archive: versions, chip, system, the\n"
        "ends of CANN's logs, and of the work folder its logs, figures, records and a listing. No\n"
        "picture, tensor, result, label, model or weight goes in; names of users, hosts and home\n"
        "folders are masked. Nothing is sent anywhere.",
        "python3 -m pipeline collect --work-dir work ascend_report.tar.gz",
    )
    parser.prog = "python3 -m pipeline collect"
    parser.add_argument(
        "out",
        type=door.path,
        nargs="?",
        default=Path("ascend_report.tar.gz"),
        metavar="OUT.tar.gz",
        help="the archive to write (default: ascend_report.tar.gz)",
    )
    parser.add_argument(
        "--work-dir",
        type=door.path,
        metavar="D",
        help="the folder of the run (default: that of run_all.sh)",
    )
    parser.add_argument(
        "--log-kb",
        type=door.whole_number(1, 100_000),
        default=512,
        metavar="N",
        help="take the last N KB of CANN's logs",
    )

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline import identity, table
        from pipeline.ascend import collect as room
        from pipeline.errors import PipelineError

        if args.work_dir is not None and not args.work_dir.is_dir():
            raise PipelineError(f"{args.work_dir} is no folder", "give the one of the run")
        started = time.perf_counter()
        work = args.work_dir or identity.PROJECT / "work"
        report = room.collect(work, args.out, args.log_kb << 10)
        rows = [(f"{size:,}", name) for name, size in report.sizes]
        rows += [("none", what) for what in report.absent]
        table.show(("bytes", "what"), rows, left="what")
        size = args.out.stat().st_size
        return door.Verdict(
            f"{len(report.members)} files, {size:,} bytes packed in "
            f"{time.perf_counter() - started:.1f} s -> {args.out}; look through it before you "
            "send it"
        )

    return door.enter(parser, call, argv, last=__name__ == "__main__")


def ascend(argv: list[str]) -> int:
    """Hand over to a command of the card's path."""
    from cli import ascend_commands

    return ascend_commands.main(argv, last=__name__ == "__main__")


COMMANDS = {
    "sample": sample,
    "current": current,
    "summary": summary,
    "report": report,
    "compare": compare,
    "diagnose": diagnose,
    "judge": judge,
    "ascend": ascend,
    "collect": collect,
}


def main(argv: list[str]) -> int:
    """Hand over to the named command."""
    door.mend_streams()
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    if argv and argv[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\n")
        return door.EXIT_GOOD
    word = argv[0] if argv else "nothing"
    close = door.did_you_mean(word, list(COMMANDS))
    door.complain(
        f"pipeline: error: {word!r} is not one of {', '.join(COMMANDS)}{close}; "
        "see python3 -m pipeline --help"
    )
    return door.EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
