"""What kind of model a file holds, told by its content and never by its name.

The guide's commands name `vovnet39_bs1.om`; where no NPU is, an ONNX model may lie behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import onnx

ONNX = "ONNX"
IR = "OpenVINO IR"

# MODEL_FILE_MAGIC_NUM = 0x444F4D49, little-endian, first field of the header of every offline
# model: GraphEngine, inc/framework/common/types.h.
_OM_MAGIC = b"IMOD"
_ZIP_MAGIC = b"PK\x03\x04"
_HEAD = 4096
# Operators that ONNX, and ONNX Runtime beyond it, have for quantised tensors.
_QUANTIZED = re.compile(r"(Dynamic)?QuantizeLinear|DequantizeLinear|QLinear\w+|\w+Integer")


@dataclass(frozen=True)
class ModelFile:
    """A model that an engine here may run.

    `companions` are files that belong to it: external tensors of ONNX, the weights of IR.
    `batch_name` is the name of an ONNX model's dynamic batch, None where it is fixed or nameless.
    `quantized` says whether it holds int8 layers.
    """

    path: Path
    kind: str
    companions: tuple[Path, ...] = ()
    batch_name: str | None = None
    quantized: bool = False


def identify(path: Path) -> ModelFile:
    """Return what `path` holds.

    Raises PipelineError where it is missing, empty, an offline model for an Ascend card, or
    nothing that is run here; also where a companion is missing or lies outside its folder.
    """
    if not path.exists():
        raise PipelineError(f"{path} does not exist", "give the model with -om_path")
    if not path.is_file():
        raise PipelineError(f"{path} is not a file", "give the model itself with -om_path")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise PipelineError(f"{path} is empty", "export the model again")
    if head.startswith(_OM_MAGIC):
        raise PipelineError(
            f"{path} is an offline model (om), which needs an Ascend card",
            "run it there with Huawei's benchmark tool, or give the .onnx file here",
        )
    if head.startswith(_ZIP_MAGIC):
        raise PipelineError(
            f"{path} is a zip archive, such as a PyTorch checkpoint, and no ONNX model",
            "export it first with vovnet39_pth2onnx.py",
        )
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return _identify_ir(path)
    return _identify_onnx(path)


def _identify_ir(path: Path) -> ModelFile:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise PipelineError(f"{path} is broken XML: {error}", "convert the model again") from error
    if root.tag != "net":
        raise PipelineError(
            f"{path} is XML with the root <{root.tag}>, and no OpenVINO IR",
            "give an ONNX model or an OpenVINO IR",
        )
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise PipelineError(f"{path} lacks its weights {weights}", "put both into one folder")
    quantized = any(layer.get("type") == "FakeQuantize" for layer in root.iter("layer"))
    return ModelFile(path, IR, (weights,), quantized=quantized)


def _identify_onnx(path: Path) -> ModelFile:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    nothing = PipelineError(
        f"{path} is neither ONNX nor OpenVINO IR, or it is truncated",
        "export the model again, or copy it again",
    )
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise nothing from error
    if not (model.ir_version and model.opset_import and model.graph.node and model.graph.output):
        raise nothing
    quantized = any(_QUANTIZED.fullmatch(node.op_type) for node in model.graph.node)
    return ModelFile(path, ONNX, _external_data(path, model), _batch_name(model), quantized)


def _external_data(path: Path, model: onnx.ModelProto) -> tuple[Path, ...]:
    """Return the files that hold the model's tensors, all of which lie below its folder."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    folder = path.parent.resolve()
    found: dict[str, Path] = {}
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor):
            continue
        location = ExternalDataInfo(tensor).location
        if location in found:
            continue
        file = path.parent / location
        if not file.resolve().is_relative_to(folder):
            raise PipelineError(
                f"{path} keeps the tensor {tensor.name} outside its folder, in {location}",
                "save the model with its data beside it",
            )
        if not file.is_file():
            raise PipelineError(f"{path} lacks its data {file}", "put both into one folder")
        found[location] = file
    return tuple(found.values())


def _batch_name(model: onnx.ModelProto) -> str | None:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    dimensions = inputs[0].type.tensor_type.shape.dim if inputs else []
    return dimensions[0].dim_param or None if dimensions else None
