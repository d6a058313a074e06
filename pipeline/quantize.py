"""fp32 ONNX -> int8 ONNX that ONNX Runtime and OpenVINO both run.

The recipe is ONNX Runtime's own static quantisation, in the form that is fast and exact enough on a
CPU: QDQ nodes, activations uint8, weights int8 and symmetric, one scale per output channel, ranges
from real pictures. Four things in it are not a matter of taste:

- The model goes to opset 13 first. `DequantizeLinear` has an `axis`, and so a scale per channel,
  since opset 13; at opset 11 the file that comes out does not load.
- Activations are uint8: the processor's 8-bit dot products take one unsigned operand.
- Pictures are real, and at least 32. Noise never reaches the ranges that pictures reach.
- On an x86 processor without VNNI two 8-bit products are added in 16 bits and saturate; there, and
  only there, weights take 7 bits.
"""

from __future__ import annotations

import contextlib
import io
import logging
import platform
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import prepared, progress
from pipeline.engines import TensorInfo, model_file
from pipeline.errors import PipelineError
from pipeline.prepared import Layout, Picture

if TYPE_CHECKING:
    import onnx

OPSET = 13
LEAST_PICTURES = 32
CPU_INFO = Path("/proc/cpuinfo")
METHODS = ("minmax", "percentile", "entropy")
_FATAL = 4  # ONNX Runtime's log level


@dataclass(frozen=True)
class Recipe:
    """How to quantise. `per_channel` False gives one scale per tensor of weights."""

    method: str = "minmax"
    reduce_range: bool = False
    per_channel: bool = True


@dataclass(frozen=True)
class FloatModel:
    """An fp32 ONNX model with one input; `batch` is None where it is free."""

    path: Path
    input_name: str
    layout: Layout
    batch: int | None


@dataclass(frozen=True)
class Quantized:
    """What was written: bytes of the file, and how many of its layers with weights are int8."""

    size: int
    layers: int
    layers_int8: int


def inspect(path: Path) -> FloatModel:
    """Return what has to be known of the model to quantise it.

    Raises PipelineError where it is no ONNX model, is quantised already, or does not take batches
    of pictures as its one input.
    """
    found = model_file.identify(path)
    if found.kind != model_file.ONNX:
        raise PipelineError(
            f"{path} is a model of the kind {found.kind}", "give the ONNX file that it was made of"
        )
    if found.quantized:
        raise PipelineError(f"{path} is quantised already", "give the fp32 model")
    import onnx
    from onnx import helper

    model = onnx.load_model(path, format="protobuf", load_external_data=False)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise PipelineError(
            f"{path} has {len(inputs)} inputs ({names})", "only models with one input are taken"
        )
    tensor = inputs[0].type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if dtype not in (np.dtype(np.float32), np.dtype(np.uint8)):
        raise PipelineError(
            f"{path}: the input {inputs[0].name!r} is {dtype}", "float32 and uint8 are taken"
        )
    layout = prepared.layout_of(TensorInfo(inputs[0].name, shape, dtype))
    return FloatModel(path, inputs[0].name, layout, shape[0])


def quantize(
    model: FloatModel, pictures: Sequence[Picture], recipe: Recipe, target: Path
) -> Quantized:
    """Write the int8 model to `target`, with ranges taken from `pictures`.

    Same model, pictures and recipe give the same bytes. Raises PipelineError where there are fewer
    than 32 pictures, or ONNX Runtime cannot quantise the model or run what came out.
    """
    if len(pictures) < LEAST_PICTURES:
        raise PipelineError(
            f"too few to calibrate: {len(pictures)} of {LEAST_PICTURES} different pictures",
            "list more of them in the info file",
        )
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    methods = {
        "minmax": quantization.CalibrationMethod.MinMax,
        "percentile": quantization.CalibrationMethod.Percentile,
        "entropy": quantization.CalibrationMethod.Entropy,
    }
    with (
        tempfile.TemporaryDirectory(prefix="quantise.") as folder,
        progress.track("calibrating", len(pictures), "pictures") as done,
        _quiet_onnxruntime(model.path),
    ):
        ready = Path(folder) / "ready.onnx"
        shape_inference.quant_pre_process(_raised(model.path), ready, skip_symbolic_shape=True)
        quantization.quantize_static(
            ready,
            target,
            _Reader(model, pictures, done),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=recipe.per_channel,
            reduce_range=recipe.reduce_range,
            calibrate_method=methods[recipe.method],
            # Ranges are merged after every batch, whatever the method, so that memory does not
            # grow with the pictures.
            extra_options={"CalibStridedMinMax": 1},
        )
    return _examine(model, target)


def needs_reduced_range() -> bool:
    """Say whether this is an x86 processor without VNNI, as far as the kernel tells."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        return False
    flags = CPU_INFO.read_text(errors="replace") if CPU_INFO.exists() else ""
    return not re.search(r"\bavx(512)?_vnni\b", flags)


def as_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe for a record, with what is always so."""
    return {
        **asdict(recipe),
        "format": "QDQ",
        "activations": "uint8",
        "weights": "int8",
        "opset": OPSET,
    }


class _Reader:
    """Batches of pictures for ONNX Runtime's calibration, read when they are asked for.

    A model with a free batch gets one picture at a time. A fixed batch that the last pictures do
    not fill is filled with them once more.
    """

    def __init__(self, model: FloatModel, pictures: Sequence[Picture], done: Any) -> None:
        self._model = model
        self._pictures = pictures
        self._done = done
        self._batch = model.batch or 1
        self._next = self._stop = 0

    def __len__(self) -> int:
        return -(-len(self._pictures) // self._batch)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Yield the batches from `start_index` to `end_index` next."""
        self._next, self._stop = start_index, end_index

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch by the name of the input, or None after the last."""
        if self._next >= self._stop:
            return None
        first = self._next * self._batch
        last = len(self._pictures) - 1
        rows = [
            prepared.read(self._pictures[min(first + row, last)].path, self._model.layout)
            for row in range(self._batch)
        ]
        self._next += 1
        self._done(min(first, last))
        return {self._model.input_name: np.stack(rows)}


def _raised(path: Path) -> onnx.ModelProto:
    """Return the model at opset 13 or above."""
    import onnx
    from onnx import version_converter

    model = onnx.load_model(path, format="protobuf")
    (version,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return model if version >= OPSET else version_converter.convert_version(model, OPSET)


@contextlib.contextmanager
def _quiet_onnxruntime(path: Path) -> Iterator[None]:
    """Keep what ONNX Runtime logs and prints off the screen; raise PipelineError for its failures.

    Its quantiser also logs failures that it then passes over; they are no less failures.
    """
    import onnxruntime

    errors = _Errors(logging.ERROR)
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [errors]
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except PipelineError:
        raise
    except Exception as error:  # neither ONNX Runtime nor onnx has a base class for its own
        raise _failure(path, str(error)) from error
    finally:
        onnxruntime.set_default_logger_severity(2)  # its own default
        root.handlers = handlers
    if errors.messages:
        raise _failure(path, errors.messages[-1])


class _Errors(logging.Handler):
    """Collects messages."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.messages.append(record.getMessage())


def _failure(path: Path, message: str) -> PipelineError:
    words = " ".join(message.split())
    return PipelineError(
        f"{path} cannot be quantised: {words[:300]}", "see what ONNX Runtime says of the model"
    )


def _examine(model: FloatModel, target: Path) -> Quantized:
    """Return what was written, after ONNX Runtime has loaded it."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    try:
        onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no base class for its own
        raise _failure(model.path, str(error)) from error
    graph = onnx.load_model(target, format="protobuf").graph
    widened = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    layers = Counter(
        {node.input[0], node.input[1]} <= widened
        for node in graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
    )
    if not layers[True]:
        raise PipelineError(
            f"{model.path} has no layer that could be quantised", "is it the network you meant?"
        )
    return Quantized(target.stat().st_size, layers.total(), layers[True])
