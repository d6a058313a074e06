"""A small convolutional network with a fitted head, and pictures that it tells apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.formats.info import InfoLine, write_info
from pipeline.imagenet.labels import write_labels

SIZE = 64  # pixels
CLASSES = 6
CHANNELS = (3, 16, 32, 32, 32)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Prepared pictures in a folder, with their info file and their label file."""

    folder: Path
    info: Path
    labels: Path


def draw(count: int, seed: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Return `(count, SIZE, SIZE, 3)` pictures, smooth with some grain, and their classes."""
    rng = np.random.default_rng(seed)
    colours = np.random.default_rng(7).uniform(50, 205, (CLASSES, 3))
    labels = rng.integers(0, CLASSES, count)
    axis = np.arange(SIZE) / SIZE
    pictures = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for row, label in enumerate(labels):
        field = np.zeros((SIZE, SIZE))
        for cycles in (0.5, 1, 2, 4):
            phase = rng.uniform(0, 2 * np.pi, 2)
            field += (
                np.sin(2 * np.pi * cycles * axis + phase[0])[:, None]
                * np.sin(2 * np.pi * cycles * axis + phase[1])
                / cycles
            )
        picture = colours[label] + rng.uniform(10, 22) * field[..., None]
        picture += rng.normal(0, 4, picture.shape)
        pictures[row] = np.clip(picture, 0, 255).astype(np.uint8)
    return pictures, labels


def as_tensors(pixels: Pixels) -> NDArray[np.float32]:
    """Return `(N, 3, SIZE, SIZE)`, in -1..1."""
    tensors = (pixels.astype(np.float32) - 127) / 128
    return np.ascontiguousarray(tensors.transpose(0, 3, 1, 2))


def write_pictures(
    folder: Path, count: int, seed: int, dtype: str = "float32", prefix: str = "p"
) -> Pictures:
    """Write pictures as `folder/<prefix><number>.bin`, and their info and label files."""
    folder.mkdir(parents=True)
    pixels, labels = draw(count, seed)
    rows: Sequence[NDArray[np.generic]] = list(as_tensors(pixels) if dtype == "float32" else pixels)
    names = [f"{prefix}{number:04}" for number in range(count)]
    for name, row in zip(names, rows, strict=True):
        (folder / f"{name}.bin").write_bytes(row.tobytes())
    found = Pictures(folder, folder.with_suffix(".info"), folder.with_suffix(".txt"))
    list_pictures(found.info, [folder / f"{name}.bin" for name in names])
    write_labels(found.labels, zip((f"{n}.JPEG" for n in names), labels.tolist(), strict=True))
    return found


def list_pictures(info: Path, files: Sequence[Path]) -> Path:
    """Write an info file; return its path."""
    write_info(info, [InfoLine(i, str(file), SIZE, SIZE) for i, file in enumerate(files)])
    return info


def save_network(
    path: Path,
    *,
    batch: int | str = "batch",
    dtype: str = "float32",
    weights: str = "laplace",
    loud_channel: bool = False,
    opset: int = 11,
) -> Path:
    """Write the network, its head fitted to drawn pictures; return `path`.

    Input `image` `(batch, 3, SIZE, SIZE)` in -1..1, or with uint8 `(batch, SIZE, SIZE, 3)`.
    `weights` `laplace` have the heavy tails of trained ones, `normal` and `uniform` are what
    networks start from. `loud_channel` makes a channel that nothing listens to a thousand times as
    strong as the others, so that 8 bits for all of them are too few.
    """
    rng = np.random.default_rng(3)
    tensors: dict[str, NDArray[np.float32]] = {}
    nodes, last = _from_pixels(dtype)
    for number, (inputs, outputs) in enumerate(itertools.pairwise(CHANNELS)):
        scale = np.sqrt((1 if weights == "laplace" else 2) / (9 * inputs))
        kernel = _draw_weights(rng, weights, scale, (outputs, inputs, 3, 3))
        kernel *= rng.uniform(0.5, 2, (outputs, 1, 1, 1)).astype(np.float32)
        if loud_channel and number == 0:
            kernel[0] *= 1000
        if loud_channel and number == 1:
            kernel[:, 0] = 0
        tensors |= {f"w{number}": kernel, f"b{number}": np.zeros(outputs, np.float32)}
        nodes += [
            helper.make_node(
                "Conv",
                [last, f"w{number}", f"b{number}"],
                [f"c{number}"],
                strides=[2 if number < 2 else 1] * 2,
                pads=[1] * 4,
            ),
            helper.make_node("Relu", [f"c{number}"], [f"r{number}"]),
        ]
        last = f"r{number}"
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    pixels, labels = draw(120, seed=99)
    feed = pixels if dtype == "uint8" else as_tensors(pixels)
    body = _model(nodes, tensors, "features", CHANNELS[-1], "N", dtype, opset)
    session = onnxruntime.InferenceSession(
        body.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    features = session.run(None, {"image": feed})[0].astype(np.float64)
    mean = features.mean(0)
    target = 10.0 * (labels[:, None] == np.arange(CLASSES))
    head = np.linalg.lstsq(features - mean, target - target.mean(0), rcond=1e-2)[0]
    tensors["head"] = head.astype(np.float32)
    tensors["bias"] = (target.mean(0) - mean @ head).astype(np.float32)
    nodes.append(helper.make_node("Gemm", ["features", "head", "bias"], ["class"]))
    onnx.save_model(_model(nodes, tensors, "class", CLASSES, batch, dtype, opset), path)
    return path


def _draw_weights(
    rng: np.random.Generator, weights: str, scale: float, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    if weights == "laplace":
        return rng.laplace(0, scale, shape).astype(np.float32)
    if weights == "normal":
        return rng.normal(0, scale, shape).astype(np.float32)
    return rng.uniform(-1.7 * scale, 1.7 * scale, shape).astype(np.float32)


def _from_pixels(dtype: str) -> tuple[list[onnx.NodeProto], str]:
    """Return the nodes that turn uint8 pixels into tensors, and the name of what comes out."""
    if dtype == "float32":
        return [], "image"
    return [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["tensor"]),
    ], "tensor"


def _model(
    nodes: Sequence[onnx.NodeProto],
    tensors: dict[str, NDArray[np.float32]],
    output: str,
    width: int,
    batch: int | str,
    dtype: str,
    opset: int,
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    constants = tensors | {"mean": np.float32(127), "scale": np.float32(1 / 128)}
    sizes = [SIZE, SIZE, 3] if dtype == "uint8" else [3, SIZE, SIZE]
    element = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", element, [batch, *sizes])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, width])],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if name in used
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model
