"""What the converter does to an ONNX model: batch fixed, half precision, AIPP in front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from tests.standins import aipp, faults, om
from tests.standins.atc_options import AtcError, invalid

_HALF = float(np.finfo(np.float16).max)
# Modes under which the stand-in's weights pass through half precision.
_HALF_MODES = ("force_fp16", "allow_mix_precision")


def convert(options: dict[str, str]) -> None:
    """Write the om file that the options ask for; AtcError where they do not fit the model."""
    model = _load(options["model"])
    _check_operators(model.graph)
    shapes = _fix_inputs(model.graph, options.get("input_shape", ""))
    mode = options.get("precision_mode", "force_fp16")
    if mode in _HALF_MODES:
        round_weights(model.graph)
    description = _describe(model, shapes, options, mode)
    om.write(Path(f"{options['output']}.om"), description, model.SerializeToString())


def round_weights(graph: onnx.GraphProto) -> None:
    """Round every float32 weight to half precision and back, saturating at its ends.

    Products and sums stay float32: a stand-in shows that values change, not by how much.
    """
    for place, initializer in enumerate(graph.initializer):
        if initializer.data_type == TensorProto.FLOAT:
            values = np.clip(numpy_helper.to_array(initializer), -_HALF, _HALF)
            rounded = values.astype(np.float16).astype(np.float32)
            graph.initializer[place].CopyFrom(numpy_helper.from_array(rounded, initializer.name))


def _load(path: str) -> onnx.ModelProto:
    try:
        model = onnx.load_model(path, format="protobuf")
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        # assumed: the code; a model that cannot be read is refused somehow.
        raise invalid("model", path, "Reason: it is no ONNX model.") from error
    return model


def _check_operators(graph: onnx.GraphProto) -> None:
    kind = faults.active().get("unsupported_op")
    for node in graph.node:
        if kind is not None and kind in ("", node.op_type):
            name = node.name or node.output[0]
            raise AtcError(
                "EZ3003: No supported Ops kernel and engine are found for "
                f"[{name}], optype [{node.op_type}].\n"
                "        Possible Cause: The operator is not supported by the system. Therefore, "
                "no hit is found in any operator information library.\n"
                "        Solution: 1. Check that the OPP component is installed properly. "
                "2. Submit an issue to request for the support of this operator type.\n"
                "        TraceBack (most recent call last):\n"
                "        build graph failed, graph id:0, ret:-1"
                "[FUNC:BuildModel][FILE:ge_generator.cc][LINE:1484]"
            )


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    constants = {initializer.name for initializer in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def _parse_shapes(text: str) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for part in filter(None, text.split(";")):
        name, colon, dims = part.rpartition(":")
        try:
            shapes[name] = tuple(int(dim) for dim in dims.split(","))
        except ValueError:
            colon = ""
        if not colon:
            raise invalid("input_shape", text, "Reason: it must be name:n,c,h,w;name2:n,c,h,w.")
    return shapes


def _fix_inputs(graph: onnx.GraphProto, text: str) -> dict[str, tuple[int, ...]]:
    given = _parse_shapes(text)
    values = _inputs(graph)
    unknown = set(given) - {value.name for value in values}
    if unknown:
        raise invalid("input_shape", text, f"Reason: the model has no input {unknown.pop()!r}.")
    symbols = {}
    for value in values:
        dims = value.type.tensor_type.shape.dim
        shape = given.get(value.name, tuple(dim.dim_value for dim in dims))
        # assumed: a dimension that the model fixes is not changed by --input_shape.
        fits = len(shape) == len(dims) and all(
            dim.dim_value in (0, size) for dim, size in zip(dims, shape, strict=True)
        )
        if not fits or min(shape, default=0) < 1:
            shown = ",".join(dim.dim_param or str(dim.dim_value) for dim in dims)
            raise invalid("input_shape", text, f"Reason: the model takes {value.name}:{shown}.")
        for dim, size in zip(dims, shape, strict=True):
            symbols[dim.dim_param] = size
            dim.dim_value = size
        given[value.name] = tuple(shape)
    for value in [*graph.output, *graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                size = symbols.get(dim.dim_param)
                if size is None:
                    dim.ClearField("dim_param")
                else:
                    dim.dim_value = size
    return given


def _describe(
    model: onnx.ModelProto,
    shapes: dict[str, tuple[int, ...]],
    options: dict[str, str],
    mode: str,
) -> om.Description:
    half = set(filter(None, options.get("input_fp16_nodes", "").split(";")))
    inputs = []
    for value in _inputs(model.graph):
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        name = "float16" if value.name in half else str(dtype)
        inputs.append(om.Tensor(value.name, name, shapes[value.name]))
    batch = inputs[0].shape[0]
    fields = _read_aipp(options.get("insert_op_conf"))
    if fields is not None:
        rank = fields.get("related_input_rank", 0)
        if rank >= len(inputs) or inputs[rank].name in half or len(inputs[rank].shape) != 4:
            raise invalid("insert_op_conf", options["insert_op_conf"], "Reason: wrong input.")
        taken = inputs[rank]
        try:
            source = aipp.source_shape(fields, batch, *taken.shape[2:])
        except aipp.AippError as error:
            raise invalid("insert_op_conf", options["insert_op_conf"], f"Reason: {error}") from None
        inputs[rank] = om.Tensor(taken.name, "uint8", source)
    outputs = _outputs(model, options.get("output_type", ""))
    return om.Description(
        options["soc_version"], batch, tuple(inputs), tuple(outputs), mode, fields
    )


def _read_aipp(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        return aipp.parse(Path(path).read_text(encoding="utf-8"))
    except (aipp.AippError, UnicodeDecodeError) as error:
        raise invalid("insert_op_conf", path, f"Reason: {error}") from None


def _outputs(model: onnx.ModelProto, output_type: str) -> list[om.Tensor]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        shapes = [node.shape for node in session.get_outputs()]
        if not all(isinstance(size, int) for shape in shapes for size in shape):
            # What cannot be inferred shows when the graph runs, on zeros.
            shapes = [result.shape for result in session.run(None, _zeros(model.graph))]
    except Exception as error:  # ONNX Runtime has no base class for its own
        # assumed: the code, which is that of errors with no code of their own.
        raise AtcError(f"E19999: Inner Error!\n        {error}") from error
    tensors = []
    for value, shape in zip(model.graph.output, shapes, strict=True):
        dtype = str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        half = output_type == "FP16" and dtype == "float32"
        tensors.append(om.Tensor(value.name, "float16" if half else dtype, tuple(shape)))
    return tensors


def _zeros(graph: onnx.GraphProto) -> dict[str, Any]:
    return {
        value.name: np.zeros(
            [dim.dim_value for dim in value.type.tensor_type.shape.dim],
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in _inputs(graph)
    }
