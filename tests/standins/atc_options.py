"""The converter's command line: its options, their values, and its refusals.

Options, values and defaults are those of CANN 5.0.x; E10007, E10054, E10001, E10010 and E10022 are
its codes. assumed: the wording of E10001, E10010 and E10022, of which only the codes are known.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.standins import card, faults

START = "ATC start working now, please wait for a moment."
SUCCESS = "ATC run success, welcome to the next use."
FAILURE = "ATC run failed, Please check the detail log, Try 'atc --help' for more information"
FRAMEWORKS = "0(Caffe) or 1(MindSpore) or 3(TensorFlow) or 5(Onnx)"

_FREE = r".+"
_IMPLEMENTATIONS = r"high_(precision|performance)(_for_all)?"
_TYPE = "(FP32|FP16|UINT8)"
OPTIONS = {
    "mode": "[01356]",
    "framework": "[0135]",
    "model": _FREE,
    "output": _FREE,
    "input_format": "NCHW|ND|NCDHW",
    "input_shape": _FREE,
    "dynamic_batch_size": "[0-9, ]+",
    "dynamic_image_size": "[0-9,; ]+",
    "dynamic_dims": "[0-9,; ]+",
    "out_nodes": _FREE,
    "output_type": f"{_TYPE}|[^:;]+:[0-9]+:{_TYPE}(;[^:;]+:[0-9]+:{_TYPE})*",
    "input_fp16_nodes": _FREE,
    "insert_op_conf": _FREE,
    "precision_mode": "force_fp16|force_fp32|allow_mix_precision|allow_fp32_to_fp16"
    "|must_keep_origin_dtype",
    "op_select_implmode": _IMPLEMENTATIONS,
    "optypelist_for_implmode": _FREE,
    "enable_small_channel": "[01]",
    "buffer_optimize": "l2_optimize|off_optimize",
    "auto_tune_mode": "RL|GA|RL,GA|GA,RL",
    "fusion_switch_file": _FREE,
    "disable_reuse_memory": "[01]",
    "op_debug_level": "[0-4]",
    "debug_dir": _FREE,
    "op_compiler_cache_dir": _FREE,
    "op_compiler_cache_mode": "disable|enable|force",
    "check_report": _FREE,
    "log": "debug|info|warning|error|null",
    "soc_version": _FREE,
}


class AtcError(Exception):
    """The conversion fails; the text is what the converter prints after its failure line."""


def invalid(option: str, value: str, reason: str) -> AtcError:
    """Return the error of a value that `--option` does not take."""
    return AtcError(f"E10001: Value [{value}] for parameter [--{option}] is invalid. {reason}")


def parse(words: list[str]) -> dict[str, str]:
    """Return the options of the command line, each checked; AtcError."""
    options = _split(words)
    for name, value in options.items():
        if OPTIONS[name] == _FREE or name in ("framework", "log"):
            continue
        if not re.fullmatch(OPTIONS[name], value):
            raise invalid(name, value, f"Reason: it must match {OPTIONS[name]}")
    if not re.fullmatch(OPTIONS["log"], options.get("log", "null")):
        raise AtcError(
            f"E10010: Value [{options['log']}] for parameter [--log] is invalid. "
            "Reason: it must be debug, info, warning, error or null."
        )
    if not re.fullmatch(OPTIONS["framework"], options.get("framework", "-1")):
        raise AtcError(f"E10007: [--framework] is required. The value must be [{FRAMEWORKS}].")
    for name in ("model", "output", "soc_version"):
        if not options.get(name):
            # The missing letter is the converter's own.
            raise AtcError(
                f"E10054: The requied parameter [--{name}] for ATC is empty. Another possible "
                "reason is that the value of some parameter is not enclosed by quotation marks "
                '("").'
            )
    _check_values(options)
    return options


def _split(words: list[str]) -> dict[str, str]:
    options = {}
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in OPTIONS:
            # assumed: its parser of flags speaks here, in words of its own.
            raise AtcError(f"E10001: Unknown parameter [{word}].")
        if not equals:
            if not left:
                raise AtcError(f"E10001: Parameter [--{name}] has no value.")
            value = left.pop(0)
        options[name] = value
    return options


def _check_values(options: dict[str, str]) -> None:
    if options["output"].endswith("/"):
        raise AtcError(
            f"E10022: Value [{options['output']}] for parameter [--output] is invalid. "
            "Reason: it must name a file, not a directory."
        )
    soc = options["soc_version"]
    if faults.is_active("bad_soc") or not card.is_soc_version(soc):
        raise invalid("soc_version", soc, "Reason: no such AI processor is known.")
    dynamic = [name for name in options if name.startswith("dynamic_")]
    if len(dynamic) > 1:
        raise invalid(dynamic[0], options[dynamic[0]], f"Reason: [--{dynamic[1]}] is given too.")
    if "insert_op_conf" in options and "dynamic_dims" in dynamic:
        raise invalid("insert_op_conf", options["insert_op_conf"], "Reason: [--dynamic_dims].")
    if "optypelist_for_implmode" in options and "op_select_implmode" not in options:
        name = "optypelist_for_implmode"
        raise invalid(name, options[name], "Reason: [--op_select_implmode] is missing.")
    for name in ("model", "insert_op_conf", "fusion_switch_file"):
        if name in options and not Path(options[name]).is_file():
            raise invalid(name, options[name], "Reason: the file does not exist.")
    for name, pattern in (("mode", "0"), ("framework", "5"), ("output_type", "FP32|FP16")):
        if name in options and not re.fullmatch(pattern, options[name]):
            raise invalid(name, options[name], "Reason: the stand-in does not do this.")
    if dynamic or "out_nodes" in options:
        name = (dynamic or ["out_nodes"])[0]
        raise invalid(name, options[name], "Reason: the stand-in does not do this.")
