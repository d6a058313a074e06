"""AIPP, the chip's own picture preprocessing: its configuration file and what it computes.

Fields and types as in `insert_op.proto`; the formula of normalisation as documented:
`out = (in - mean_chn_i - min_chn_i) * var_reci_chn_i`. Only static mode, and of the formats only
RGB888_U8 and XRGB8888_U8 are computed.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMATS = ("YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8")
CHANNELS = {"RGB888_U8": 3, "XRGB8888_U8": 4}

_BOOLS = {"csc_switch", "rbuv_swap_switch", "ax_swap_switch", "crop", "padding"}
_INTS = {
    "related_input_rank",
    *("src_image_size_w", "src_image_size_h", "load_start_pos_w", "load_start_pos_h"),
    *("crop_size_w", "crop_size_h"),
    *(f"{side}_padding_size" for side in ("left", "right", "top", "bottom")),
    *(f"mean_chn_{i}" for i in range(4)),
    *(f"matrix_r{row}c{column}" for row in range(3) for column in range(3)),
    *(f"{way}_bias_{i}" for way in ("input", "output") for i in range(3)),
}
_FLOATS = {f"{name}_{i}" for name in ("min_chn", "var_reci_chn") for i in range(4)}
_FIELD = re.compile(r"([a-z_0-9]+)\s*:\s*([-+.\w]+)", re.ASCII)


class AippError(Exception):
    """The file is no AIPP configuration that can be taken; the text says where and why."""


def parse(text: str) -> dict[str, Any]:
    """Return the fields of an AIPP file; AippError for anything that the schema does not have."""
    bare = "\n".join(line.partition("#")[0].rstrip() for line in text.splitlines())
    whole = re.fullmatch(r"\s*aipp_op\s*\{(.*)\}\s*", bare, re.DOTALL)
    if whole is None:
        raise AippError("expected one message: aipp_op { ... }")
    fields: dict[str, Any] = {}
    for line in filter(None, map(str.strip, whole[1].split("\n"))):
        match = _FIELD.fullmatch(line)
        if match is None:
            raise AippError(f"expected 'name : value', found {line!r}")
        name, word = match.groups()
        if name in fields:
            raise AippError(f"field {name} is given twice")
        fields[name] = _value(name, word)
    if fields.get("aipp_mode") != "static":
        raise AippError("aipp_mode must be static: the stand-in has no dynamic AIPP")
    if "input_format" not in fields:
        raise AippError("input_format is mandatory in static mode")
    return fields


def _value(name: str, word: str) -> Any:
    try:
        if name in _BOOLS:
            return {"true": True, "1": True, "false": False, "0": False}[word]
        if name in _INTS:
            return int(word)
        if name in _FLOATS:
            return float(word)
    except (ValueError, KeyError):
        raise AippError(f"{word!r} is no value of the field {name}") from None
    choices = {"aipp_mode": ("static", "dynamic"), "input_format": FORMATS}.get(name)
    if choices is None:
        raise AippError(f"aipp_op has no field called {name!r}")
    if word not in choices:
        raise AippError(f"{word!r} is no value of the field {name}")
    return word


def source_shape(fields: dict[str, Any], batch: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of the uint8 input for a network of `height` x `width`; AippError."""
    if fields["input_format"] not in CHANNELS:
        raise AippError(f"the stand-in does not compute {fields['input_format']}")
    source = (fields.get("src_image_size_h", height), fields.get("src_image_size_w", width))
    channels = CHANNELS[fields["input_format"]]
    probe = apply(fields, np.zeros((1, *source, channels), np.uint8))
    if probe.shape[2:] != (height, width):
        raise AippError(
            f"a picture of {source[1]}x{source[0]} comes out as {probe.shape[3]}x{probe.shape[2]}, "
            f"and the model takes {width}x{height}"
        )
    return (batch, *source, channels)


def apply(fields: dict[str, Any], pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, 3, h, w) float32 for (n, h, w, c) uint8: crop, swap, normalise, pad."""
    if fields.get("crop"):
        top, left = fields.get("load_start_pos_h", 0), fields.get("load_start_pos_w", 0)
        height = fields.get("crop_size_h", pixels.shape[1] - top)
        width = fields.get("crop_size_w", pixels.shape[2] - left)
        pixels = pixels[:, top : top + height, left : left + width]
    if pixels.shape[3] == 4 and fields.get("ax_swap_switch"):
        pixels = np.roll(pixels, -1, axis=3)
    channels = pixels[..., :3]
    if fields.get("rbuv_swap_switch"):
        channels = channels[..., ::-1]
    planes = channels.transpose(0, 3, 1, 2).astype(np.float32)
    for i in range(3):
        shift = fields.get(f"mean_chn_{i}", 0) + fields.get(f"min_chn_{i}", 0.0)
        planes[:, i] = (planes[:, i] - np.float32(shift)) * np.float32(
            fields.get(f"var_reci_chn_{i}", 1.0)
        )
    if fields.get("padding"):
        left, right, top, bottom = (
            fields.get(f"{side}_padding_size", 0) for side in ("left", "right", "top", "bottom")
        )
        planes = np.pad(planes, ((0, 0), (0, 0), (top, bottom), (left, right)))
    return planes
