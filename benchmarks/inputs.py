"""Inputs of the runner: prepared tensors in the page cache, their info file, a model to name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pipeline import progress
from pipeline.formats.info import InfoLine, write_info

SHAPE = (3, 224, 224)
TENSOR_BYTES = 4 * 3 * 224 * 224
_SEED = 39


def make_tensors(folder: Path, count: int, unique: int | None = None) -> Path:
    """Fill `folder` with `count` tensors, read them once, and return their info file.

    Of these the first `unique` (default: all) differ, the others are hard links to them in turn.
    The first value of each is its number.
    """
    tensors = folder / "tensors"
    tensors.mkdir()
    different = min(count, unique or count)
    paths = [tensors / f"{number:08d}.bin" for number in range(count)]
    base = np.random.default_rng(_SEED).normal(0, 1, 2 * int(np.prod(SHAPE))).astype(np.float32)
    size = int(np.prod(SHAPE))
    with progress.track("make tensors", different, "tensors") as update:
        for number, path in enumerate(paths[:different]):
            start = number * 7919 % size
            tensor = base[start : start + size].copy()
            tensor[0] = number
            tensor.tofile(path)
            update(number + 1)
    for number, path in enumerate(paths[different:], different):
        path.hardlink_to(paths[number % different])
    # What is still to be written to the disk would be written while others are measured.
    os.sync()
    for path in paths[:different]:
        path.read_bytes()
    info = folder / "tensors.info"
    write_info(info, [InfoLine(n, str(path), 224, 224) for n, path in enumerate(paths)])
    return info


def save_small_model(path: Path) -> Path:
    """Write an ONNX model of the network's shape that is only looked at, never run."""
    import onnx
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *SHAPE])
    mean = helper.make_tensor_value_info("class", TensorProto.FLOAT, ["batch", 3, 1, 1])
    node = helper.make_node("GlobalAveragePool", ["image"], ["class"])
    graph = helper.make_graph([node], "small", [image], [mean])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save_model(model, path, format="protobuf")
    return path
