"""Files: which make up a batch, and the results of each."""

from __future__ import annotations

import logging
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PURE = "pure_infer_data"
PADDING = "padding_infer_fake_file"
logger = logging.getLogger("ais_bench")


def listed(path: str) -> list[str]:
    """Return the inputs in a folder, in natural order."""
    found = [
        str(place) for place in Path(path).iterdir() if place.suffix.lower() in (".bin", ".npy")
    ]
    if not found:
        logger.error("%s of input args not find valid file", path)
        raise RuntimeError(path)
    return sorted(sorted(found), key=_natural)


def _natural(text: str) -> list[Any]:
    parts = re.split("([0-9]+)", text)
    return [int(part) if part.isdigit() else part.lower() for part in parts]


def batches(given: list[str], descs: list[Any]) -> list[list[list[str]]]:
    """Return for each batch and model input its files; the last batch is padded."""
    if not given:
        return [[[PURE] for _ in descs]]
    if Path(given[0]).is_file():
        per_input = len(given) // len(descs)
        files = [given[start : start + per_input] for start in range(0, len(given), per_input)]
    elif Path(given[0]).is_dir() and len(given) == len(descs):
        files = [listed(folder) for folder in given]
    else:
        logger.error("Invalid args. %s  of --input is invalid", given[0])
        raise RuntimeError(given[0])
    if len(files) != len(descs):
        logger.error("fileslist:%d intensor:%d not match", len(files), len(descs))
        raise RuntimeError("inputs")
    size, whole = content(files[0][0]).nbytes, descs[0].realsize
    if size == 0 or whole % size:
        logger.error("arg0 tensorsize: %d filesize: %d not match", whole, size)
        raise RuntimeError("size")
    per_batch = whole // size
    runs = math.ceil(len(files[0]) / per_batch)
    logger.info(
        "get filesperbatch files0 size:%d tensor0size:%d filesperbatch:%d runcount:%d",
        *(size, whole, per_batch, runs),
    )
    padded = [each + [PADDING] * (runs * per_batch - len(each)) for each in files]
    return [
        [each[run * per_batch : (run + 1) * per_batch] for each in padded] for run in range(runs)
    ]


def content(path: str) -> NDArray[Any]:
    """Return an input file: raw bytes, or the array of an npy file."""
    if path.lower().endswith(".npy"):
        return np.asarray(np.load(path))
    return np.fromfile(path, np.int8)


def gather(files: list[str], size: int, pure_data_type: str) -> NDArray[Any]:
    """Return one batch of one input, `size` bytes; padding repeats the first file."""
    if files == [PURE]:
        if pure_data_type == "random":
            return np.random.default_rng().integers(0, 256, size, np.uint8)
        return np.zeros(size, np.uint8)
    parts = [content(files[0] if file == PADDING else file) for file in files]
    if len(parts) == 1:
        return parts[0]
    whole = np.concatenate(parts)
    if whole.nbytes != size:
        logger.error("ndata size:%d not match %d", whole.nbytes, size)
        raise RuntimeError("size")
    return whole


def save(path: Path, array: NDArray[Any]) -> None:
    """Write one result in the format that the path's ending names."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".bin":
        array.tofile(path)
    else:
        form = "%f " if array.dtype.kind == "f" else "%d "
        rows = array.reshape(-1, array.shape[-1])
        path.write_text("".join("".join(form % v for v in row) + "\n" for row in rows.tolist()))


def split(output: NDArray[Any], files: list[list[str]], axis: int) -> list[NDArray[Any]]:
    """Return the part of each file of a batch."""
    count = len(files[0])
    if axis >= output.ndim or (count > 1 and output.shape[axis] % count):
        logger.error(
            "save out files error array shape:%s filesinfo:%s "
            "files_count_perbatch:%d ndata.shape%d",
            *(output.shape, files, count, axis),
        )
        raise RuntimeError("save out files error")
    return np.array_split(output, count, axis)


def stem(path: str) -> str:
    """Return a file's name up to its first dot."""
    return os.path.basename(path).split(".")[0]  # noqa: PTH119
