"""AIPP: normalisation on the chip, so that the model takes uint8 pixels instead of float32 tensors.

`atc --insert_op_conf=FILE` puts it in front of the model. The file is prototxt: one message
`aipp_op { ... }` of `name : value` lines (source: insert_op.proto of CANN's graph engine). A pixel
becomes, per channel i,

    (pixel - mean_chn_i - min_chn_i) * var_reci_chn_i

(source: the ATC guide). ToTensor and Normalize are (pixel / 255 - mean) / std; the same, with
mean * 255 subtracted and 1 / (std * 255) multiplied. mean_chn_i is an integer field, so all of the
mean goes into min_chn_i. The numbers are written so that float32 reads the nearest value it has;
the ATC guide says that AIPP puts out float16 and holds both factors as float16, in which the model
runs anyway unless `--precision_mode` says otherwise.
"""

from __future__ import annotations

import os
import stat
from decimal import Decimal
from pathlib import Path

from pipeline import atomic
from pipeline.errors import PipelineError
from pipeline.formats import info
from pipeline.imagenet import CROP, MEAN, RESIZE, STD

_DIGITS = 15  # significant; nine tell any two float32 values apart
_CHANNELS = 3  # R, G, B
_FLOAT32 = 4  # bytes
PIXEL_BYTES = CROP * CROP * _CHANNELS  # one sample with AIPP: uint8, height x width x RGB
TENSOR_BYTES = PIXEL_BYTES * _FLOAT32  # one sample without: float32, RGB x height x width

_UINT8 = f"uint8 pixels, {CROP}x{CROP}"
_HOW_UINT8 = "make the .bin files with vovnet_torch_preprocess.py --dtype uint8, and list those"
_HOW_FLOAT32 = "make the .bin files with vovnet_torch_preprocess.py, and list those"


def subtrahends() -> tuple[str, ...]:
    """Return min_chn_0..2, mean * 255, as they stand in the file."""
    return tuple(_written(Decimal(str(mean)) * 255) for mean in MEAN)


def factors() -> tuple[str, ...]:
    """Return var_reci_chn_0..2, 1 / (std * 255), as they stand in the file."""
    return tuple(_written(1 / (Decimal(str(std)) * 255)) for std in STD)


def text() -> str:
    """Return the AIPP file: static mode, RGB888_U8, 224 x 224 taken whole, normalised."""
    lines = [
        "aipp_mode : static",
        "input_format : RGB888_U8",
        f"src_image_size_w : {CROP}",
        f"src_image_size_h : {CROP}",
        "crop : false",
        *(f"min_chn_{i} : {number}" for i, number in enumerate(subtrahends())),
        *(f"var_reci_chn_{i} : {number}" for i, number in enumerate(factors())),
    ]
    return "aipp_op {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def write(path: Path) -> None:
    """Write the AIPP file to `path`, whole or not at all."""
    atomic.write_text(path, text())


def sample_bytes(aipp: bool) -> int:
    """Return the bytes that the model takes for one sample, with AIPP in front of it or without."""
    return PIXEL_BYTES if aipp else TENSOR_BYTES


def check_bins(info_file: Path, wanted_bytes: int) -> int:
    """Return how many files the info file lists, each of them of just `wanted_bytes`.

    Paths are relative to the current folder, as the tool takes them. Raises PipelineError that
    names the first file of another size, or that is not there, and the likely cause.
    """
    lines = info.read_info(info_file)
    for line in lines:
        try:
            found = os.stat(line.path)  # noqa: PTH116 -- a Path per file takes longer than the call
        except OSError as error:
            raise PipelineError(
                f"{line.path}, which {info_file} lists, cannot be read: {error.strerror}",
                "start from the folder that its paths are relative to, or make it again",
            ) from error
        if not stat.S_ISREG(found.st_mode):
            raise PipelineError(
                f"{line.path}, which {info_file} lists, is no file", "make the info file again"
            )
        if found.st_size != wanted_bytes:
            cause, remedy = _likely(found.st_size, wanted_bytes)
            raise PipelineError(
                f"{line.path} has {found.st_size} bytes, and the model takes {wanted_bytes} for "
                f"one sample: {cause}",
                remedy,
            )
    return len(lines)


def _written(number: Decimal) -> str:
    return f"{Decimal(f'{number:.{_DIGITS}g}').normalize():f}"


def _likely(size: int, wanted: int) -> tuple[str, str]:
    """Return what a file of `size` bytes most likely is, and what to do about it."""
    if size == 0:
        return "it is empty", "make the .bin files again"
    remedy = _HOW_UINT8 if wanted == PIXEL_BYTES else _HOW_FLOAT32
    if wanted == PIXEL_BYTES and size == TENSOR_BYTES:
        return f"float32 tensors, and a model with AIPP takes {_UINT8}", remedy
    if wanted == TENSOR_BYTES and size == PIXEL_BYTES:
        return (
            f"{_UINT8}, and this model, converted without AIPP, takes float32 tensors",
            f"convert the model with AIPP (--insert_op_conf), or {_HOW_FLOAT32}",
        )
    uncropped = RESIZE * RESIZE * _CHANNELS
    if size in (uncropped, uncropped * _FLOAT32):
        return f"pictures of {RESIZE}x{RESIZE}, and the model takes {CROP}x{CROP}", remedy
    if size == PIXEL_BYTES * 2:
        return "float16, which this model does not take", remedy
    if size % wanted == 0:
        count = size // wanted
        return (
            f"{count} samples in one file, and it must be one",
            "the batch size belongs to the om and to -batch_size; the tool puts batches together",
        )
    if wanted % size == 0:
        return (
            f"1/{wanted // size} of that",
            f"{remedy}; or the size asked for is that of a batch of {wanted // size}",
        )
    return "it was made for another model, or cut short", remedy
