"""`python3 -m pipeline ascend COMMAND ...`: what run_all.sh does on the card's path.

find     print what there is of a card and its software, for run_all.sh to read
aipp     write the AIPP file, which lets the card normalise uint8 pixels
atc      run a command of atc, unless its om is up to date
measure  run a command of the benchmark tool or of ais_bench, and see whether all is there
state    print whether the results of a batch size are there, for run_all.sh to read
table    print accuracy, rates, published figures and the rules; exit 1 where accuracy fails
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cli import door
from pipeline import progress
from pipeline.errors import PipelineError

_PROG = "python3 -m pipeline ascend"
RUNNERS = ("tool", "ais_bench", "own")
Call = Callable[[argparse.Namespace], door.Verdict]


def main(argv: list[str], *, last: bool = False) -> int:
    """Hand over to the named command."""
    if argv and argv[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\n")
        return door.EXIT_GOOD
    word = argv[0] if argv else "nothing"
    if word not in _COMMANDS:
        close = door.did_you_mean(word, list(_COMMANDS))
        door.complain(
            f"{_PROG}: error: {word!r} is not one of {', '.join(_COMMANDS)}{close}; "
            f"see {_PROG} --help"
        )
        return door.EXIT_USAGE
    words, command = _split(argv[1:])
    parser, call = _COMMANDS[word](command)
    parser.prog = f"{_PROG} {word}"
    return door.enter(parser, call, words, last=last)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands before the first `--`, and the command behind it."""
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _find(command: list[str]) -> tuple[door.Parser, Call]:
    parser = door.Parser(
        "Look for CANN, atc, the benchmark tool, ais_bench and the chip. What is found is told on\n"
        "stderr, with --assume as comments on stdout; there are lines name=value for run_all.sh.",
        f"{_PROG} find --convert --measure",
    )
    parser.add_argument(
        "--soc-version",
        default="",
        metavar="NAME",
        help="the chip, as in Ascend310P3 (default: what npu-smi info says)",
    )
    parser.add_argument(
        "--runner",
        type=door.choice(*RUNNERS),
        metavar="NAME",
        help="tool, ais_bench or own (default: the first of them that is there)",
    )
    parser.add_argument("--convert", action="store_true", help="atc will be needed")
    parser.add_argument("--measure", action="store_true", help="a card will be needed")
    parser.add_argument("--assume", action="store_true", help="what is missing is no failure")
    parser.add_argument("folders", nargs="*", type=door.path, help="where the tool may lie")

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline.ascend import discover

        wanted = discover.Wanted(
            args.soc_version,
            args.runner or "",
            args.convert,
            args.measure,
            args.folders,
            args.assume,
        )
        found = discover.find(wanted)
        for line in found.lines:
            if args.assume:
                door.say(f"# {line}")
            else:
                progress.note(line)
        soc = found.soc or discover.GUIDES_SOC
        if found.missing and args.assume:
            for line in found.missing:
                door.say(f"# missing    {line}")
        elif found.missing:
            for line in found.missing:
                door.complain(f"missing: {line}")
            count = len(found.missing)
            raise PipelineError(
                f"{count} thing{'s' if count > 1 else ''} missing on the way to the card",
                "see above; nothing was run",
            )
        door.say(f"soc={soc}")
        door.say(f"runner={found.runner or discover.TOOL}")
        door.say(f"tool_name={discover.tool_name()}")
        door.say(f"tool={found.tool.absolute() if found.tool else ''}")
        door.say(f"devices={' '.join(map(str, found.devices))}")
        return door.Verdict(f"--soc_version={soc}")

    return parser, call


def _aipp(command: list[str]) -> tuple[door.Parser, Call]:
    parser = door.Parser(
        "Write the AIPP file for atc's --insert_op_conf: uint8 RGB pixels, normalised on the chip.",
        f"{_PROG} aipp aipp_vovnet39.config",
    )
    parser.add_argument("file", type=door.path, metavar="FILE", help="where to write it")

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline import places
        from pipeline.ascend import aipp

        places.check_file(args.file)
        if not (args.file.is_file() and args.file.read_bytes() == aipp.text().encode()):
            aipp.write(args.file)
        return door.Verdict(f"AIPP for uint8 RGB -> {args.file}")

    return parser, call


def _atc(command: list[str]) -> tuple[door.Parser, Call]:
    parser = door.Parser(
        "Run a command of atc here, unless its om is up to date.",
        f"{_PROG} atc -- atc --framework=5 --model=./vovnet39.onnx ...",
    )
    parser.add_argument("--force", action="store_true", help="also where it is up to date")

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline.ascend import convert

        started = time.perf_counter()
        done = convert.convert(_given(parser, command), args.force)
        return door.Verdict(f"{done} in {time.perf_counter() - started:.1f} s")

    return parser, call


def _measure(command: list[str]) -> tuple[door.Parser, Call]:
    parser = door.Parser(
        "Run a command of the benchmark tool, or of ais_bench, over the images of an info file.",
        f"{_PROG} measure vovnet_prep_bin.info -- ./benchmark.x86_64 -model_type=vision ...",
    )
    parser.add_argument("info", type=door.path, metavar="INFO", help="what it will read")

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline.ascend import measure

        started = time.perf_counter()
        done = measure.measure(_given(parser, command), args.info)
        return door.Verdict(f"{done} in {time.perf_counter() - started:.1f} s")

    return parser, call


def _state(command: list[str]) -> tuple[door.Parser, Call]:
    parser = door.Parser(
        "Print two words, yes or no: are the dumps of this run there, and its score?",
        f"{_PROG} state SPEED RESULT -- RUN ... -- SCORE ...",
    )
    parser.add_argument("speed", type=door.path, metavar="SPEED", help="the run's figures")
    parser.add_argument("result", type=door.path, metavar="RESULT", help="the score")

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline.ascend import state

        # The first command has a `--` of its own; the second has none.
        behind = command[::-1].index("--") if "--" in command else 0
        run, score = command[: -behind - 1], command[-behind:]
        if not behind or not run:
            parser.error("give two commands, each behind --")
        found = state.of(args.speed, run, args.result, score)
        door.say(" ".join("yes" if one else "no" for one in (found.dumps, found.score)))
        return door.Verdict("looked at the records")

    return parser, call


def _table(command: list[str]) -> tuple[door.Parser, Call]:
    parser = door.Parser(
        "Print the table of a run on a card: for each batch size its result and its figures.",
        f"{_PROG} table --soc-version Ascend310 result_bs1.json "
        "result/perf_vision_batchsize_1_device_0.txt",
    )
    parser.add_argument(
        "--soc-version", required=True, metavar="NAME", help="the chip, as in Ascend310P3"
    )
    parser.add_argument(
        "--weights", type=door.path, metavar="FILE", help="the checkpoint (default: not known)"
    )
    parser.add_argument(
        "--reference",
        type=door.path,
        default=Path("result_cpu.json"),
        metavar="FILE",
        help="the score of the same ONNX on the processor",
    )
    parser.add_argument("files", type=door.path, nargs="+", metavar="RESULT SPEED", help="in pairs")

    def call(args: argparse.Namespace) -> door.Verdict:
        from pipeline.ascend import rules, table

        started, files = time.perf_counter(), args.files
        if len(files) % 2:
            parser.error("each result file needs the file with its figures")
        pairs = zip(files[::2], files[1::2], strict=True)
        rows = [table.read_row(*pair, args.soc_version) for pair in pairs]
        found, why = table.reference(rows, args.weights, args.reference)
        rulings = table.show(rows, args.soc_version, found, why)
        failed = [one.rule for one in rulings if one.verdict == rules.FAIL]
        said = [
            f"{sum(one.verdict == word for one in rulings)} {name}"
            for word, name in ((rules.PASS, "PASS"), (rules.FAIL, "FAIL"), (rules.SKIPPED, "n/a"))
        ]
        # Speed is shown and not enforced: a card that others use, or a cold one, is no fault.
        good = not any(rule.startswith("accuracy") for rule in failed)
        seconds = time.perf_counter() - started
        return door.Verdict(f"{', '.join(said)} in {seconds:.2f} s -> {Path.cwd()}", good)

    return parser, call


def _given(parser: door.Parser, command: list[str]) -> list[str]:
    if not command:
        parser.error("give the command behind --")
    return command


_COMMANDS = {
    "find": _find,
    "aipp": _aipp,
    "atc": _atc,
    "measure": _measure,
    "state": _state,
    "table": _table,
}
