"""The command line of `python3 -m ais_bench`."""

from __future__ import annotations

import argparse

from . import GENERATION, path_rules

_TRUE, _FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


def parse(words: list[str]) -> argparse.Namespace:
    """Return the options; exits with 2 for a usage error, RuntimeError for a contradiction."""
    parser = argparse.ArgumentParser(
        "ais_bench", description="Stand-in for ais_bench: its figures are this processor's."
    )
    add = parser.add_argument
    add("--model", "-m", required=True, type=_om)
    add("--input", "-i", type=_input)
    add("--output", "-o", type=_output)
    add("--output_dirname", type=_output)
    add("--outfmt", default="BIN", choices=["NPY", "BIN", "TXT"])
    add("--loop", "-l", type=_positive, default=1)
    add("--device", "-d", type=_devices, default=0)
    add("--warmup_count", type=_natural, default=1)
    add("--batchsize", type=_positive)
    add("--pure_data_type", default="zero", choices=["zero", "random"])
    add("--run_mode", default="array", choices=["array", "files", "tensor", "full"])
    add("--output_batchsize_axis", type=_natural, default=0)
    for name in ("debug", "display_all_summary", "profiler", "dump"):
        add(f"--{name}", type=_bool, default=False)
    for name in ("auto_set_dymshape_mode", "auto_set_dymdims_mode"):
        add(f"--{name}", type=_bool, default=False)
    add("--dymBatch", type=int, default=0)
    for name in ("dymHW", "dymDims", "dymShape", "dymShape_range", "outputSize", "acl_json_path"):
        add(f"--{name}")
    if GENERATION == 25:
        for name in ("pipeline", "dump_npy", "divide_input", "energy_consumption", "perf"):
            add(f"--{name}", type=_bool, default=False)
        add("--profiler_rename", type=_bool, default=True)
        add("--threads", type=_positive, default=1)
        add("--npu_id", type=_devices, default=0)
        add("--backend", choices=["trtexec"])
        add("--aipp_config")
    options = parser.parse_args(words)
    _check(options)
    return options


def _check(options: argparse.Namespace) -> None:
    if options.output_dirname is not None:
        if options.output is None:
            raise RuntimeError("error bad parameters --output_dirname")
        if options.output_dirname.startswith("/") and GENERATION == 25:
            raise ValueError("--output_dirname do not support abs path!")
    if options.run_mode == "files" and options.input is None:
        raise RuntimeError("not support pure infer")
    given = [
        *("dymBatch", "dymHW", "dymDims", "dymShape", "dymShape_range", "outputSize"),
        *("acl_json_path", "auto_set_dymshape_mode", "auto_set_dymdims_mode", "profiler", "dump"),
        *("pipeline", "dump_npy", "energy_consumption", "perf", "backend", "aipp_config"),
    ]
    for name in given:
        if getattr(options, name, None):
            raise RuntimeError(f"--{name}: the stand-in does not do this")


def _bool(word: str) -> bool:
    if word.lower() not in _TRUE + _FALSE:
        raise argparse.ArgumentTypeError("Boolean value expected true, 1, false, 0")
    return word.lower() in _TRUE


def _natural(word: str) -> int:
    if int(word) < 0:
        raise argparse.ArgumentTypeError(f"{word} is an invalid nonnegative int value")
    return int(word)


def _positive(word: str) -> int:
    if not 0 < int(word) <= 100000:
        raise argparse.ArgumentTypeError(f"{word} is an invalid positive int value")
    return int(word)


def _devices(word: str) -> int | list[int]:
    numbers = [int(part) for part in word.split(",")]
    for number in numbers:
        if not 0 <= number <= 255:
            raise argparse.ArgumentTypeError(
                f"device:{number} is invalid. valid value range is [0, 255]"
            )
    return numbers if "," in word else numbers[0]


def _om(word: str) -> str:
    if GENERATION == 25:
        try:
            path_rules.check_model(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"om path:{word} is illegal: {error}") from None
    return word


def _input(word: str) -> str:
    for path in word.split(",") if GENERATION == 25 else []:
        try:
            path_rules.check_input(path)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(f"input path:{path} is illegal: {error}") from None
    return word


def _output(word: str) -> str:
    if GENERATION == 25:
        try:
            path_rules.check_output(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"output path:{word} is illegal: {error}") from None
    return word
