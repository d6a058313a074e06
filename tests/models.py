"""Small ONNX models for tests: the traits of real ones, at a thousandth of the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

_GRID = 4  # the picture is averaged down to this many fields in each direction


def save_classifier(
    path: Path,
    *,
    size: int = 224,
    classes: int = 1000,
    batch: int | str | None = "batch",
    dtype: str = "float32",
    input_name: str = "image",
    output_name: str = "class",
    extra_outputs: bool = False,
    external_data: bool = False,
    seed: int = 0,
) -> Path:
    """Write a linear classifier on coarse fields of the picture; return `path`.

    `batch` is a number (fixed), a name (dynamic) or None (dynamic without a name). float32 and
    float16 inputs are (batch, 3, size, size), a uint8 input is (batch, size, size, 3).
    `extra_outputs` adds `top`, int64 (batch, 1), and `fields`, float32 (batch, 3, 4, 4).
    """
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((3 * _GRID * _GRID, classes)).astype(np.float32)
    bias = rng.standard_normal(classes).astype(np.float32)
    nodes, planes = [], input_name
    if dtype == "uint8":
        nodes.append(helper.make_node("Transpose", [planes], ["planes"], perm=[0, 3, 1, 2]))
        planes = "planes"
    if dtype != "float32":
        nodes.append(helper.make_node("Cast", [planes], ["floats"], to=TensorProto.FLOAT))
        planes = "floats"
    step = [size // _GRID] * 2
    nodes += [
        helper.make_node("AveragePool", [planes], ["fields"], kernel_shape=step, strides=step),
        helper.make_node("Flatten", ["fields"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], [output_name]),
    ]
    sizes = [size, size, 3] if dtype == "uint8" else [3, size, size]
    shape: list[str | int | None] = [batch, *sizes]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    scores: list[str | int | None] = [batch, classes]
    outputs = [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, scores)]
    if extra_outputs:
        nodes.append(helper.make_node("ArgMax", [output_name], ["top"], axis=1))
        top: list[str | int | None] = [batch, 1]
        fields: list[str | int | None] = [batch, 3, _GRID, _GRID]
        outputs.append(helper.make_tensor_value_info("top", TensorProto.INT64, top))
        outputs.append(helper.make_tensor_value_info("fields", TensorProto.FLOAT, fields))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(input_name, element, shape)],
        outputs,
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    return _save(graph, path, external_data)


def save_two_inputs(path: Path) -> Path:
    """Write a model that adds its two inputs; return `path`."""
    shape: list[str | int | None] = ["batch", 4]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("a", "b", "c")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])], "two", values[:2], values[2:]
    )
    return _save(graph, path, False)


def save_without_batch_in_output(path: Path) -> Path:
    """Write a model whose output is one mean over the whole batch; return `path`."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3, 8, 8])
    node = helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0], keepdims=1)
    return _save(helper.make_graph([node], "mean", [image], [mean]), path, False)


def save_slow(path: Path, *, layers: int = 6) -> Path:
    """Write a model of (batch, 3, 32, 32) pictures that takes some 10 ms each; return `path`."""
    values = 3 * 32 * 32
    weight = np.random.default_rng(0).normal(0, values**-0.5, (values, values)).astype(np.float32)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])
    last = helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["batch", values])
    nodes = [helper.make_node("Flatten", ["image"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"]) for i in range(layers)]
    constants = [numpy_helper.from_array(weight, "w")]
    return _save(helper.make_graph(nodes, "slow", [image], [last], constants), path, False)


def expected(path: Path, batch: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the outputs for `batch` by the ONNX project's own reference implementation."""
    model = onnx.load_model(path, format="protobuf")
    name = model.graph.input[0].name
    return [np.asarray(out) for out in ReferenceEvaluator(model).run(None, {name: batch})]


def _save(graph: onnx.GraphProto, path: Path, external_data: bool) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save_model(
        model,
        path,
        format="protobuf",
        save_as_external_data=external_data,
        location=f"{path.name}.data",
        size_threshold=0,
    )
    return path
