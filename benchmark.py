#!/usr/bin/env python3
"""Run a model over a data set, or over random data, and measure it.

The portable twin of the Ascend benchmark tool: same flags, same files, on the processor; and on
the card's chips, through ais_bench, where the model is an om.

With -input_text_path, each sample of the info file goes through the model, and there appear
  result/dumpOutput_device<D>/<stem>_<k>.txt|.bin        output k (from 1) of each sample
  result/perf_<type>_batchsize_<B>_device_<D>.txt        speed of each module
A run that was cut short goes on when the same command is given again, and its figures are those of
the samples that were left.
With -round, random data goes through it, and there appears
  result/PureInfer_perf_of_<model>_in_device_<D>.txt     speed of the model alone

With -device_id=0,1,2,3 several chips share a data set and leave one set of results, that of the
first; then there is a perf file for each chip, and for all of them together
  result/perf_<type>_batchsize_<B>_devices_0_1_2_3.txt   its Interface rate is the sum of theirs
A chip that fails is named, with the samples that are missing; the same command goes on with them.

The model is told by its content: ONNX, OpenVINO IR and om, whatever the file's name. Flags take one
dash or two, and `-name=value` or `-name value`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cli import door
from pipeline import engines

SUPPORTED_TYPE = "vision"
MODEL_TYPES = (SUPPORTED_TYPE, "nmt", "widedeep", "nlp", "yolocaffe", "bert", "deepfm")
MOST_ROUNDS = 1024
MOST_DEVICES = 255
MOST_THREADS = 1024
MOST_SAMPLES = 65536  # of one batch


class ToolParser(door.Parser):
    """The tool's flags: whole words behind one dash, as well as behind two."""

    def flag(self, name: str, **how: object) -> None:
        """Add `-name` and `--name`."""
        self.add_argument(f"-{name}", f"--{name}", **how)  # type: ignore[arg-type]

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse `argv` and refuse flags that contradict each other."""
        # argparse would take `-batch` for an abbreviation and `-version` for `-v`.
        words = sys.argv[1:] if argv is None else argv
        args = super().parse([f"-{w}" if _is_long(w) else w for w in words])
        if args.round is None and args.input_text_path is None:
            self.error(
                "give -input_text_path=FILE.info for a data set, or -round=N for random data"
            )
        if args.round is not None:
            self._refuse(
                args, "round", "input_text_path", "useDvpp", "output_binary", "dump", "force"
            )
            if len(args.device_id) > 1:
                self.error("-round takes one device at a time: give each its own command")
        if args.model_type != SUPPORTED_TYPE:
            self.error(
                f"-model_type={args.model_type} is known but not supported here,"
                f" only {SUPPORTED_TYPE} is"
            )
        if args.dump == "npy" and args.output_binary:
            self.error("-dump=npy writes no files per sample, so -output_binary=true says nothing")
        return args

    def _refuse(self, args: argparse.Namespace, mode: str, *others: str) -> None:
        for other in others:
            if getattr(args, other):
                self.error(f"-{other} has no meaning together with -{mode}")


def build_parser() -> door.Parser:
    """Return the parser; its help text is this file's docstring."""
    parser = ToolParser(
        __doc__ or "",
        "./benchmark.py -model_type=vision -device_id=0 -batch_size=16 -om_path=vovnet39.onnx"
        " \\\n      -input_text_path=vovnet_prep_bin.info -input_width=224 -input_height=224"
        " \\\n      -output_binary=false -useDvpp=false",
    )
    _add_tool_flags(parser)
    _add_own_flags(parser)
    return parser


def _add_tool_flags(parser: ToolParser) -> None:
    number = door.whole_number
    parser.flag(
        "model_type",
        type=door.choice(*MODEL_TYPES),
        default=SUPPORTED_TYPE,
        metavar="TYPE",
        help=f"type of the model; only {SUPPORTED_TYPE} runs here",
    )
    parser.flag(
        "device_id",
        type=_devices,
        default=(0,),
        metavar="D",
        help="chip, or chips as in 0,1,2,3; without a card it only names the results",
    )
    parser.flag(
        "batch_size",
        type=number(1, MOST_SAMPLES),
        default=1,
        metavar="B",
        help="samples per model execution",
    )
    parser.flag(
        "om_path", type=door.path, required=True, metavar="MODEL", help="ONNX, OpenVINO IR or om"
    )
    parser.flag(
        "input_text_path",
        type=door.path,
        metavar="INFO",
        help="info file of the samples, made by get_info.py (default: none, with -round)",
    )
    size = "of the input in pixels, to be checked (default: the model's own)"
    parser.flag("input_width", type=number(1), metavar="W", help=f"width {size}")
    parser.flag("input_height", type=number(1), metavar="H", help=f"height {size}")
    parser.flag(
        "output_binary",
        type=_boolean,
        default=False,
        metavar="BOOL",
        help="true: results as raw .bin files, false: as .txt",
    )
    parser.flag(
        "useDvpp",
        type=_boolean,
        default=False,
        metavar="BOOL",
        help="true: the info file lists images, which are decoded and prepared on the way",
    )
    parser.flag(
        "round",
        type=number(1, MOST_ROUNDS),
        metavar="N",
        help="pure inference of N batches of random data (default: none, with -input_text_path)",
    )
    parser.flag("input_imgFiles_path", type=_no_folder, help=argparse.SUPPRESS)


def _add_own_flags(parser: ToolParser) -> None:
    number = door.whole_number
    parser.flag(
        "engine",
        type=door.choice(engines.AUTO, *engines.names()),
        default=engines.AUTO,
        metavar="NAME",
        help=f"engine: {engines.AUTO} (the fastest here), {', '.join(engines.names())}",
    )
    parser.flag(
        "precision",
        type=door.choice(*engines.PRECISIONS),
        default="fp32",
        metavar="NAME",
        help=f"precision to run in: {', '.join(engines.PRECISIONS)}",
    )
    parser.flag(
        "threads",
        type=number(1, MOST_THREADS),
        metavar="N",
        help="threads of the engine (default: the usable cores)",
    )
    parser.flag(
        "warmup",
        type=number(0),
        default=2,
        metavar="N",
        help="inferences before the timed ones, per request in flight",
    )
    parser.flag(
        "dump",
        type=door.choice("files", "npy"),
        metavar="FORM",
        help="files: one per sample and output; npy: one results_<k>.npy per output, and"
        " results.names (default: files)",
    )
    parser.flag(
        "force",
        action="store_true",
        help="start anew also where an earlier run was cut short",
    )


def call(args: argparse.Namespace) -> door.Verdict:
    """Run what the flags ask for."""
    # NumPy's products belong to the decoding threads; NumPy's own threads would only wait, busily,
    # on the engine's cores. Read when NumPy is loaded, which is after this.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return _pure(args) if args.round else _dataset(args)


def _dataset(args: argparse.Namespace) -> door.Verdict:
    from pipeline import chain
    from pipeline.formats import perf
    from pipeline.runner import dataset

    job = dataset.Job(
        model=args.om_path,
        info=args.input_text_path,
        batch_size=args.batch_size,
        device=args.device_id[0],
        devices=args.device_id,
        model_type=args.model_type,
        width=args.input_width,
        height=args.input_height,
        images=args.useDvpp,
        form=args.dump if args.dump == "npy" else ("binary" if args.output_binary else "text"),
        engine=args.engine,
        precision=args.precision,
        threads=args.threads,
        warmup=args.warmup,
        force=args.force,
    )
    done = dataset.run(job)
    door.say(f"[INFO] {done.loaded.describe()}")
    for line in perf.to_text(done.perf).splitlines():
        door.say(line)
    for chip in done.chips:
        door.say(f"[INFO] {chip.describe()}")
    if done.chips:
        worked = f"{len(done.chips)} of {len(job.devices)} devices"
        door.say(f"[INFO] {worked} together: Interface rate {done.perf.interface_rate:.6g}/s")
    for line in done.verdict.lines():
        door.say(f"[INFO] {line}")
    unverified = f", inputs {chain.say(done.doubts)}" if done.doubts else ""
    return door.Verdict(
        f"{done.tally()}{unverified} in {done.perf.e2e_latency_ms / 1000:.2f} s"
        f" -> {job.dump_folder}, {job.perf_file}"
    )


def _pure(args: argparse.Namespace) -> door.Verdict:
    from pipeline.runner import pure

    job = pure.Job(
        model=args.om_path,
        rounds=args.round,
        batch_size=args.batch_size,
        device=args.device_id[0],
        width=args.input_width,
        height=args.input_height,
        engine=args.engine,
        precision=args.precision,
        threads=args.threads,
        warmup=args.warmup,
    )
    done = pure.run(job)
    door.say(f"[INFO] {done.loaded.describe()}")
    for number, ns in enumerate(done.rounds_ns):
        door.say(f"[INFO] Dataset number: {number} finished cost {ns / 1e6:.6g}ms")
    door.say(f"[INFO] PureInfer result saved in ./{job.perf_file}")
    door.say("-----------------PureInfer Performance Summary------------------")
    door.say(
        f"[INFO] ave_throughputRate: {done.perf.rate:.6g}samples/s,"
        f" ave_latency: {done.perf.latency_ms:.6g}ms"
    )
    door.say("----------------------------------------------------------------")
    for line in done.verdict.lines():
        door.say(f"[INFO] {line}")
    return door.Verdict(
        f"{job.rounds} rounds in {sum(done.rounds_ns) / 1e9:.2f} s -> {job.perf_file}"
    )


def _is_long(word: str) -> bool:
    return len(word) > 2 and word[0] == "-" and word[1].isalpha()


def _devices(text: str) -> tuple[int, ...]:
    one = door.whole_number(0, MOST_DEVICES)
    found = tuple(map(one, text.split(",")))
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} names a device twice")
    return found


def _boolean(text: str) -> bool:
    return text == "1" or (text != "0" and door.choice("true", "false")(text) == "true")


def _no_folder(text: str) -> NoReturn:
    raise argparse.ArgumentTypeError(
        "image folders are not taken here; list the images with get_info.py jpg and give"
        " -input_text_path and -useDvpp=true"
    )


if __name__ == "__main__":
    sys.exit(door.enter(build_parser(), call))
