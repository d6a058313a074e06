"""`python3 -m pipeline diagnose`: why a converted model is less accurate than its source."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cli import door
from models_vovnet.family import ARCHS
from pipeline import engines

_DESCRIPTION = (
    "Find the first place where a converted model's numbers part from its source's: decoding,\n"
    "channel order, resize, crop, scale, mean and std, layout, dtype, the network layer by layer,\n"
    "the order of the dumps, the labels. Give what you have of another pipeline's files; what is\n"
    "not given is not examined. The last line says what to do. Exit code 0: nothing parts, 1:\n"
    "something does."
)
_EXAMPLE = (
    "python3 -m pipeline diagnose --checkpoint vovnet39_torchvision.pth --model vovnet39.onnx "
    "--images /opt/npu/imagenet/val --bins ./prep_dataset --dumps result/dumpOutput_device0/ "
    "--labels /opt/npu/imagenet/val_label.txt"
)


def build_parser() -> door.Parser:
    """Return the command line."""
    parser = door.Parser(_DESCRIPTION, _EXAMPLE)
    parser.prog = "python3 -m pipeline diagnose"
    parser.add_argument(
        "--images", type=door.path, required=True, metavar="FOLDER", help="the image files"
    )
    _add_files(parser)
    parser.add_argument(
        "--limit",
        type=door.whole_number(1, 2000),
        default=256,
        metavar="N",
        help="images whose .bin files are looked at, at most",
    )
    parser.add_argument(
        "--arch",
        type=door.choice(*ARCHS),
        default="vovnet39",
        metavar="ARCH",
        help=f"of the checkpoint: {', '.join(ARCHS)}",
    )
    parser.add_argument(
        "--engine",
        type=door.choice(engines.AUTO, *engines.names()),
        metavar="ENGINE",
        help=f"compare this engine with ONNX Runtime: {engines.AUTO}, {', '.join(engines.names())}"
        " (default: none, or auto with --precision)",
    )
    parser.add_argument(
        "--precision",
        type=door.choice(*engines.PRECISIONS),
        metavar="NAME",
        help=f"and in this precision: {', '.join(engines.PRECISIONS)} (default: the model's own)",
    )
    parser.add_argument(
        "--out", type=door.path, metavar="FILE", help="write a report, as JSON (default: nowhere)"
    )
    return parser


def _add_files(parser: door.Parser) -> None:
    """Add the options for what may be given of each pipeline."""
    files = (
        ("--checkpoint", "FILE", "the source: a VoVNet checkpoint (.pth)"),
        ("--model", "FILE", "the converted model (.onnx): fp32 or int8, tensors or pixels"),
        ("--bins", "FOLDER", "the prepared .bin files of another pipeline"),
        ("--info", "FILE", "the info file that lists them, instead of --bins"),
        ("--dumps", "FOLDER", "the results of another run"),
        ("--labels", "FILE", "label file of the images"),
    )
    for name, what, text in files:
        parser.add_argument(name, type=door.path, metavar=what, help=f"{text} (default: none)")


def main(argv: list[str], *, last: bool = False) -> int:
    """Diagnose what is given; print the steps, and the verdict."""
    parser = build_parser()

    def call(args: argparse.Namespace) -> door.Verdict:
        _check(parser, args)
        from pipeline import table
        from pipeline.diagnose import run

        started = time.perf_counter()
        given = run.Given(
            images=args.images,
            checkpoint=args.checkpoint,
            model=args.model,
            bins=args.bins,
            info=args.info,
            dumps=args.dumps,
            labels=args.labels,
            limit=args.limit,
            arch=args.arch,
            engine=args.engine,
            precision=args.precision,
            out=args.out,
            verbose=args.verbose,
        )
        found = run.diagnose(given)
        rows = [(step.name, step.verdict, step.amount, step.detail) for step in found.steps]
        table.show(("step", "verdict", "how much", "detail"), rows, left="detail")
        where = f" -> {args.out}" if args.out else ""
        took = f"; {time.perf_counter() - started:.1f} s"
        return door.Verdict(f"{found.sentence()}{took}{where}", found.good)

    return door.enter(parser, call, argv, last=last)


def _check(parser: door.Parser, args: argparse.Namespace) -> None:
    """Refuse what has no effect, or contradicts."""
    if args.bins and args.info:
        parser.error("give --bins or --info, not both")
    if not (args.model or args.bins or args.info or args.dumps):
        parser.error("give what to examine: --model, --bins or --info, --dumps")
    if args.checkpoint and not args.model:
        parser.error("--checkpoint goes with --model")
    if (args.engine or args.precision) and not args.model:
        parser.error("--engine and --precision go with --model")
    if args.labels and not (args.model or args.dumps):
        parser.error("--labels goes with --dumps or --model, whose answers they are compared with")
    for name in ("checkpoint", "model", "info", "labels"):
        file: Path | None = getattr(args, name)
        if file and not file.is_file():
            parser_error = f"{file} is no file" if file.exists() else f"{file} does not exist"
            from pipeline.errors import PipelineError

            raise PipelineError(parser_error, f"give the right file with --{name}")
