"""The benchmark tool's command line: `-name=value`, one dash or two.

Names and values are those of the published guides. assumed: the defaults marked so, and the words
in which a command line is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MODEL_TYPES = ("vision", "nmt", "widedeep", "nlp", "yolocaffe", "bert", "deepfm")
_BOOL = re.compile("true|false", re.IGNORECASE)
_NUMBER = re.compile("[0-9]{1,9}")
_KINDS = {
    "model_type": "choice",
    "device_id": "number",
    "batch_size": "number",
    "om_path": "text",
    "input_text_path": "text",
    "input_width": "number",
    "input_height": "number",
    "output_binary": "bool",
    "useDvpp": "bool",
    "round": "number",
    "input_imgFiles_path": "text",
}
MOST_ROUNDS = 1024


class UsageError(Exception):
    """The command line is refused; the text says why."""


@dataclass(frozen=True)
class Options:
    """The command line; `rounds` is None in data-set mode."""

    om_path: str
    device: int
    batch_size: int
    model_type: str
    input_text_path: str
    output_binary: bool
    rounds: int | None


def parse(words: list[str]) -> Options:
    """Return the options; UsageError."""
    values: dict[str, str] = {}
    for word in words:
        match = re.fullmatch(r"--?(\w+)=(.*)", word, re.DOTALL)
        if match is None:
            raise UsageError(f"not of the form -name=value: {word!r}")
        name, value = match.groups()
        if name not in _KINDS:
            raise UsageError(f"unknown command line flag '{name}'")
        _check(name, value)
        values[name] = value
    return _interpret(values)


def _check(name: str, value: str) -> None:
    fits = {
        "choice": value in MODEL_TYPES,
        "number": bool(_NUMBER.fullmatch(value)),
        "bool": bool(_BOOL.fullmatch(value)),
        "text": bool(value),
    }[_KINDS[name]]
    if not fits:
        raise UsageError(f"illegal value '{value}' specified for flag '{name}'")


def _interpret(values: dict[str, str]) -> Options:
    if "om_path" not in values:
        raise UsageError("om_path is required")
    if values.get("useDvpp", "false").lower() == "true" or "input_imgFiles_path" in values:
        raise UsageError("the stand-in has no DVPP to decode pictures with")
    rounds = None
    if "round" in values:
        rounds = int(values["round"])
        if not 1 <= rounds <= MOST_ROUNDS:
            raise UsageError(f"round must be from 1 to {MOST_ROUNDS}")
        if "model_type" in values or "input_text_path" in values:
            # assumed: the published commands never mix the two modes.
            raise UsageError("round is of pure inference, which takes no data set")
    else:
        for name in ("model_type", "input_text_path"):
            if name not in values:
                raise UsageError(f"{name} is required, or round")
    model_type = values.get("model_type", "")
    if model_type == "vision" and not {"input_width", "input_height"} <= set(values):
        # assumed: every published vision command has them.
        raise UsageError("vision needs input_width and input_height")
    return Options(
        om_path=values["om_path"],
        device=int(values.get("device_id", "0")),
        batch_size=int(values.get("batch_size", "1")),  # assumed default
        model_type=model_type,
        input_text_path=values.get("input_text_path", ""),
        output_binary=values.get("output_binary", "false").lower() == "true",  # deduced default
        rounds=rounds,
    )
