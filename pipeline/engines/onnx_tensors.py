"""The tensors of an ONNX model from outside: where they lie, and whether they are all there.

Engines read tensors in native code, some by the sizes that the model claims. So before any of them
sees it, every tensor, also those within nodes, subgraphs and functions, has just the bytes that its
shape takes; and one that is kept in another file lies wholly within that file, below the model's
folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError
from pipeline.formats.text import shown

if TYPE_CHECKING:
    import onnx

_MOST_INPUT = 1 << 33  # values; a batch of a thousand pictures has 2 ** 27
_BROKEN = "export the model again, or copy it again"
_BESIDE = "save the model with its data beside it"


@dataclass(frozen=True)
class Span:
    """A part of a file beside the model that a tensor lies in; `stop` is in bytes."""

    location: str
    stop: int


def examine(model: onnx.ModelProto, path: Path) -> dict[str, int]:
    """Return for each external file of the model how many bytes of it its tensors need.

    PipelineError where a tensor's content is not what its shape takes, its place is no place, an
    input is no tensor or larger than any batch of pictures, or the model is of a version to come:
    OpenVINO would run its operators by today's rules.
    """
    _check_version(model, path)
    needed: dict[str, int] = {}
    for tensor in _tensors(model):
        span = _check(tensor, path)
        if span is not None:
            needed[span.location] = max(needed.get(span.location, 0), span.stop)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in constants:
            _check_input(value, path)
    return needed


def files(path: Path, needed: dict[str, int]) -> tuple[Path, ...]:
    """Return the external files, each below the model's folder and as long as `needed` says."""
    folder = path.parent.resolve()
    found = []
    for location, size in needed.items():
        file = path.parent / location
        try:
            place = file.resolve()
            if not place.is_relative_to(folder):
                raise PipelineError(
                    f"{path} keeps tensors outside its folder, in {location}", _BESIDE
                )
            if not file.is_file():
                raise PipelineError(f"{path} lacks its data {file}", "put both into one folder")
            there = file.stat().st_size
        except (OSError, RuntimeError, ValueError) as error:  # no name, or a link to itself
            raise PipelineError(
                f"{path} keeps tensors in {shown(location)}, which is no file", _BESIDE
            ) from error
        if there < size:
            raise PipelineError(
                f"{file} has {there} bytes, and {path} needs {size} of it",
                "copy the model's data again",
            )
        found.append(file)
    return tuple(found)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of the model, wherever engines may look for one."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
        yield from _of_attributes(function.attribute_proto)
    for training in model.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        yield from _of_attributes(node.attribute)


def _of_attributes(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.HasField("sparse_tensor"):
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        if attribute.HasField("g"):
            yield from _of_graph(attribute.g)
        yield from attribute.tensors
        for sparse in attribute.sparse_tensors:
            yield from (sparse.values, sparse.indices)
        for graph in attribute.graphs:
            yield from _of_graph(graph)


def _check(tensor: onnx.TensorProto, path: Path) -> Span | None:
    """Compare a tensor's content with its shape; return where it lies if it is external."""
    from onnx import TensorProto

    what = f"{path}: the tensor {shown(tensor.name)}"
    if any(size < 0 for size in tensor.dims):
        raise PipelineError(f"{what} has a size below 0", _BROKEN)
    count = math.prod(tensor.dims)
    if tensor.data_type == TensorProto.STRING:
        if tensor.data_location == TensorProto.EXTERNAL or len(tensor.string_data) != count:
            raise PipelineError(f"{what} has not the strings that its shape says", _BROKEN)
        return None
    bits = _bits(tensor.data_type)
    if bits is None:
        raise PipelineError(f"{what} is of no type that is known ({tensor.data_type})", _BROKEN)
    size = -(-count * bits // 8)
    if tensor.data_location == TensorProto.EXTERNAL:
        return _span(tensor, size, what)
    if tensor.HasField("raw_data"):
        there = len(tensor.raw_data)
    else:
        there = _typed(tensor, bits)
        size = count if bits >= 8 else size
    if there != size:
        raise PipelineError(
            f"{what} has not the content that its shape says ({there}, not {size})", _BROKEN
        )
    return None


def _span(tensor: onnx.TensorProto, size: int, what: str) -> Span:
    facts = {entry.key: entry.value for entry in tensor.external_data}
    numbers = [facts.get("offset", "0"), facts.get("length", str(size))]
    if not all(word.isascii() and word.isdigit() and len(word) <= 18 for word in numbers):
        raise PipelineError(f"{what} lies at no place of its file", _BROKEN)
    offset, length = map(int, numbers)
    if length != size:
        raise PipelineError(
            f"{what} has {length} bytes in its file, and its shape takes {size}", _BROKEN
        )
    if not facts.get("location"):
        raise PipelineError(f"{what} names no file that it lies in", _BESIDE)
    return Span(facts["location"], offset + length)


def _bits(data_type: int) -> int | None:
    """Return the bits of an element, or None for a type that ONNX does not have."""
    from onnx import TensorProto, helper

    name = next((n for n, v in TensorProto.DataType.items() if v == data_type), "UNDEFINED")
    if name == "UNDEFINED":
        return None
    for narrow, bits in (("INT2", 2), ("INT4", 4), ("FLOAT4", 4)):
        if name.removeprefix("U").startswith(narrow):
            return bits
    return int(helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def _typed(tensor: onnx.TensorProto, bits: int) -> int:
    """Return how many elements there are in the field of the tensor's type (bytes below 8 bits)."""
    from onnx import TensorProto, helper

    values: Any = getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))
    is_complex = tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
    return len(values) // 2 if is_complex else len(values)


def _check_version(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    known = onnx.defs.onnx_opset_version()
    if model.ir_version > onnx.IR_VERSION or max(opsets, default=0) > known:
        raise PipelineError(
            f"{path} is of ONNX opset {max(opsets, default=0)} and version {model.ir_version},"
            f" and {known} and {onnx.IR_VERSION} are the latest known here",
            "export the model at an older opset",
        )


def _check_input(value: onnx.ValueInfoProto, path: Path) -> None:
    is_tensor = value.type.WhichOneof("value") == "tensor_type"
    if not is_tensor or not value.type.tensor_type.elem_type:
        raise PipelineError(
            f"{path}: the input {shown(value.name)} is no tensor", "only tensors are taken"
        )
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
    what = f"{path}: the input {shown(value.name)}"
    if any(size < 0 for size in sizes):
        raise PipelineError(f"{what} has a size below 0", _BROKEN)
    if math.prod(max(size, 1) for size in sizes) > _MOST_INPUT:
        raise PipelineError(f"{what} is larger than any batch of pictures", _BROKEN)
