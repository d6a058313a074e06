"""The fuzzed readers of models: ONNX, OpenVINO IR, and checkpoints of either format."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from pipeline.errors import PipelineError
from tests.faults.fuzz_parsers import Parser, attempt, expect, put

_SIDE = 2


def onnx_models(random: Random) -> list[bytes]:
    """Return small ONNX models, with tensors within, beside, in attributes and in subgraphs."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    numbers = np.random.default_rng(random.getrandbits(32))
    weight = numbers.standard_normal((_SIDE, _SIDE)).astype(np.float32)
    typed = helper.make_tensor("t", TensorProto.FLOAT, [2], [1.0, 2.0])
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[_SIDE, _SIDE])
    outside.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "beside.data"), ("offset", "16"), ("length", "16")):
        outside.external_data.add(key=key, value=value)
    files = []
    for constant in (numpy_helper.from_array(weight, "w"), outside):
        for batch in ("batch", 1, None):
            shape: list[str | int | None] = [batch, _SIDE]
            x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy")
            nodes = [
                helper.make_node("Constant", [], ["t"], value=typed),
                helper.make_node("MatMul", ["x", "w"], ["z"]),
                helper.make_node("Add", ["z", "t"], ["y"]),
            ]
            graph = helper.make_graph(nodes, "g", [x], [y], [constant])
            opsets = [helper.make_opsetid("", 11)]
            files.append(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    return [onnx.ModelProto.SerializeToString(model) for model in files]


def check_onnx(data: bytes, folder: Path) -> bool:
    """Tell an ONNX model; nothing of it may lie outside its folder or beyond its file."""
    from pipeline.engines import model_file

    put(folder / "beside.data", bytes(32))
    path = put(folder / "model.onnx", data)
    found = attempt(lambda: model_file.identify(path), PipelineError)
    if found is None:
        return False
    for file in found.files:
        expect(file.resolve().is_relative_to(folder.resolve()), "a file outside its folder")
    return True


def ir_models(random: Random) -> list[bytes]:
    """Return OpenVINO IRs, and XML that is none."""
    layers = "".join(
        f'<layer id="{n}" name="n{n}" type="{kind}" version="opset1">{data}</layer>'
        for n, (kind, data) in enumerate(
            (
                ("Parameter", '<data shape="?,3,8,8" element_type="f32"/>'),
                ("Const", f'<data shape="2" offset="{random.randrange(9)}" size="8"/>'),
                (random.choice(("FakeQuantize", "Add")), ""),
            )
        )
    )  # fmt: skip
    plain = f'<?xml version="1.0"?>\n<net name="m" version="11"><layers>{layers}</layers></net>'
    bomb = '<!DOCTYPE n [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><net name="&b;"/>'
    return [text.encode() for text in (plain, plain, bomb, "<html/>", "\n<net/>")]


def check_ir(data: bytes, folder: Path) -> bool:
    """Tell an IR with 16 bytes of weights."""
    from pipeline.engines import model_file

    put(folder / "model.bin", bytes(16))
    path = put(folder / "model.xml", data)
    return attempt(lambda: model_file.identify(path), PipelineError) is not None


def checkpoints(random: Random) -> list[bytes]:
    """Return small checkpoints of both formats, none of which has the network's keys."""
    import torch

    weight = torch.arange(6.0).reshape(2, 3)
    contents: list[Any] = [
        {"classifier.weight": weight, "classifier.bias": weight[0]},
        {"state_dict": {"module.a": weight.t(), "module.b": weight.half()}, "epoch": 3},
        {"model": {"a": torch.nn.Parameter(weight)}, "optimizer": {"lr": [0.1], "betas": (0, 1)}},
        {"extra": weight.to_sparse(), "x": slice(3)},
    ]
    files = []
    for content in contents:
        for new_format in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=new_format)
            files.append(file.getvalue())
    return files


def check_checkpoint(data: bytes, folder: Path) -> bool:
    """Load a checkpoint; an archive once more with its checksums mended."""
    from models_vovnet import checkpoint

    for content in (data, _with_checksums(data)):
        path = put(folder / "x.pth", content)
        found = attempt(partial(checkpoint.load, path, "vovnet27_slim"), PipelineError)
        expect(found is None, "no file here has the keys of a network")
    return False


def _with_checksums(data: bytes) -> bytes:
    """Return the archive with each member's checksum as its content has it, where it is one."""
    mended = bytearray(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                head = member.header_offset
                start = head + 30 + sum(int.from_bytes(data[head + n : head + n + 2], "little")
                                        for n in (26, 28))  # fmt: skip
                total = zlib.crc32(data[start : start + member.file_size]).to_bytes(4, "little")
                for place in _all(data, member.CRC.to_bytes(4, "little")):
                    mended[place : place + 4] = total
    except Exception:  # no archive, in any of the ways in which it may be none
        return data
    return bytes(mended)


def _all(data: bytes, word: bytes) -> list[int]:
    places: list[int] = []
    place = data.find(word)
    while place >= 0 and len(places) < 4:
        places.append(place)
        place = data.find(word, place + 1)
    return places


_CHECKS: Sequence[tuple[str, float, Callable[[Random], list[bytes]], Callable[[bytes, Path], bool]]]
_CHECKS = (
    ("onnx", 2, onnx_models, check_onnx),
    ("ir", 2, ir_models, check_ir),
    ("checkpoint", 1, checkpoints, check_checkpoint),
)
PARSERS: Sequence[Parser] = tuple(Parser(*each) for each in _CHECKS)
