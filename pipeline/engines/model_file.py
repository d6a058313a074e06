"""What kind of model a file holds, told by its content and never by its name.

The guide's commands name `vovnet39_bs1.om`; where no NPU is, an ONNX model may lie behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.engines import cache, ir_file, onnx_tensors
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import onnx

ONNX = "ONNX"
IR = "OpenVINO IR"
OM = "om (offline model for an Ascend card)"

# MODEL_FILE_MAGIC_NUM = 0x444F4D49, little-endian, first field of the header of every offline
# model: GraphEngine, inc/framework/common/types.h.
_OM_MAGIC = b"IMOD"
_ZIP_MAGIC = b"PK\x03\x04"
_HEAD = 4096
_MOST_ONNX = 2 << 30  # protobuf's own limit
_FACTS = 2  # of the form in which what was found out is kept
# Operators that ONNX, and ONNX Runtime beyond it, have for quantised tensors.
_QUANTIZED = re.compile(r"(Dynamic)?QuantizeLinear|DequantizeLinear|QLinear\w+|\w+Integer")


@dataclass(frozen=True)
class ModelFile:
    """A model that an engine here may run.

    `companions` are files that belong to it: external tensors of ONNX, the weights of IR.
    `batch_name` is the name of an ONNX model's dynamic batch, None where it is fixed or nameless.
    `quantized` says whether it holds int8 layers.
    `content` is the SHA-256 of it all where a cache is in use, else empty.
    """

    path: Path
    kind: str
    companions: tuple[Path, ...] = ()
    batch_name: str | None = None
    quantized: bool = False
    content: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it consists of."""
        return (self.path, *self.companions)


def identify(path: Path, kept: cache.Cache | None = None) -> ModelFile:
    """Return what `path` holds; what was found out about an ONNX model stays in the cache `kept`.

    Raises PipelineError where it is missing, empty, or nothing that is run here; also where a
    companion is missing or lies outside its folder.
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
        found = ModelFile(path, OM)
        return found if kept is None else replace(found, content=content_of(found))
    if head.startswith(_ZIP_MAGIC):
        raise PipelineError(
            f"{path} is a zip archive, such as a PyTorch checkpoint, and no ONNX model",
            "export it first with vovnet39_pth2onnx.py",
        )
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return _identify_ir(path, kept is not None)
    return _identify_onnx(path) if kept is None else _recall_onnx(path, kept)


def content_of(model: ModelFile) -> str:
    """Return the SHA-256 of all that the model consists of, as it is now."""
    return _content(cache.file_digest(model.path), model.companions)


def _identify_ir(path: Path, digested: bool) -> ModelFile:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        ir_file.examine(path, None)  # what is no IR at all has no weights either
        raise PipelineError(f"{path} lacks its weights {weights}", "put both into one folder")
    if not weights.resolve().is_relative_to(path.parent.resolve()):
        raise PipelineError(
            f"{path} keeps its weights outside its folder, in {weights.resolve()}",
            "put both into one folder",
        )
    quantized = ir_file.examine(path, weights.stat().st_size)
    found = ModelFile(path, IR, (weights,), quantized=quantized)
    return replace(found, content=content_of(found)) if digested else found


def _recall_onnx(path: Path, kept: cache.Cache) -> ModelFile:
    """Return what is known of a model of this content; else find it out and keep it."""
    digest = cache.file_digest(path)
    name = cache.name_of({"facts": _FACTS, "model": digest})
    known = kept.find(name)
    if known is None:
        facts = _examine_onnx(path)
        kept.keep(name, json.dumps(facts).encode())
    else:
        facts = json.loads(bytes(known))
    found = _onnx(path, facts)
    return replace(found, content=_content(digest, found.companions))


def _content(digest: str, companions: Iterable[Path]) -> str:
    return cache.name_of({"files": [digest, *map(cache.file_digest, companions)]})


def _identify_onnx(path: Path) -> ModelFile:
    return _onnx(path, _examine_onnx(path))


def _onnx(path: Path, facts: dict[str, Any]) -> ModelFile:
    companions = onnx_tensors.files(path, facts["needed"])
    return ModelFile(path, ONNX, companions, facts["batch_name"], facts["quantized"])


def _examine_onnx(path: Path) -> dict[str, Any]:
    """Return what the file itself tells, in a form that JSON can hold."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    nothing = PipelineError(
        f"{path} is neither ONNX nor OpenVINO IR, or it is truncated",
        "export the model again, or copy it again",
    )
    if path.stat().st_size > _MOST_ONNX:
        raise PipelineError(
            f"{path} has more than {_MOST_ONNX >> 30} GiB, and no ONNX file has",
            "save the model with its data beside it",
        )
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise nothing from error
    if not (model.ir_version and model.opset_import and model.graph.node and model.graph.output):
        raise nothing
    needed, batch_name = onnx_tensors.examine(model, path), _batch_name(model)
    # A text that is no UTF-8 comes as bytes.
    if not all(isinstance(text, str) for text in (batch_name or "", *needed)):
        raise nothing
    quantized = any(_QUANTIZED.fullmatch(str(node.op_type)) for node in model.graph.node)
    return {"needed": needed, "batch_name": batch_name, "quantized": quantized}


def _batch_name(model: onnx.ModelProto) -> str | None:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    dimensions = inputs[0].type.tensor_type.shape.dim if inputs else []
    return dimensions[0].dim_param or None if dimensions else None
