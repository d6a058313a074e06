"""Checkpoint -> ONNX, by the guide's names, checked against torch before the file appears.

The graph is plain opset 11 as ATC 5.x and every engine here read it: input `image`, output `class`,
batch norm folded into the convolutions, no shape arithmetic. Nothing of the time, the path or the
machine goes into the file: the same checkpoint gives the same bytes.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from models_vovnet import checkpoint
from models_vovnet.checkpoint import Checkpoint
from pipeline import atomic, machine, places, progress, record
from pipeline.errors import PipelineError
from pipeline.imagenet import CROP, MEAN, STD

OPSET = 11
INPUT, OUTPUT = "image", "class"
INPUT_KINDS = ("float32", "uint8")
# Greatest difference to torch, relative to torch's greatest logit. float32 sums of a few thousand
# products in another order differ by about 1e-6 of that.
ALLOWED = 1e-4
SEED = 39
# Batches that a model with a free batch axis is tried at.
TRIED_BATCHES = (1, 3)
# What the network consists of after folding; the last three read pixels.
EXPECTED_OPS = frozenset(
    ("Conv", "Relu", "Concat", "MaxPool", "Add", "GlobalAveragePool", "Flatten", "Gemm")
) | frozenset(("Transpose", "Cast", "Sub"))


@dataclass(frozen=True)
class Exported:
    """What was written: `difference` is absolute, `relative` to torch's greatest logit."""

    checkpoint: Checkpoint
    parameters: int
    difference: float
    relative: float
    path: Path
    seconds: float

    def __str__(self) -> str:
        source = self.checkpoint
        return (
            f"{source.arch}, {self.parameters:,} parameters, {source.classes} classes, "
            f"{source.provenance}; greatest difference to torch {self.difference:.1e} "
            f"(relative {self.relative:.1e}, allowed {ALLOWED:.0e}); "
            f"{self.seconds:.1f} s -> {self.path}"
        )


class PixelInput(nn.Module):
    """`(N, 224, 224, 3)` uint8 RGB pixels -> logits, by a network for normalised tensors.

    Normalisation is `(pixel / 255 - mean) / std`. The mean is subtracted from the pixels, and the
    scale `1 / (255 std)` goes into the first convolution. The mean must not go into its bias: the
    convolution pads with zeros, which stand for the mean colour before folding and for black after.
    """

    mean: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(MEAN).reshape(1, 3, 1, 1))
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        with torch.no_grad():
            scaled = first.weight / (255 * torch.tensor(STD).reshape(1, 3, 1, 1))
        first.weight = nn.Parameter(scaled, requires_grad=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.network(pixels.permute(0, 3, 1, 2).to(torch.float32) - self.mean)
        return logits


@progress.steps("read the checkpoint", "trace it to ONNX", "compare with torch", "write it")
def export(
    weights: Path,
    target: Path,
    arch: str = "vovnet39",
    batch_size: int | None = None,
    input_kind: str = "float32",
) -> Exported:
    """Write the network of a checkpoint as ONNX to `target`, and its record beside it.

    With `batch_size` None the batch axis is free. `input_kind` float32 takes `(N, 3, 224, 224)`
    normalised tensors, uint8 takes `(N, 224, 224, 3)` RGB pixels. Raises PipelineError where the
    checkpoint does not fit or the written graph answers otherwise than torch; `target` then stays
    as it was.
    """
    started = time.perf_counter()
    check_paths(weights, target)
    torch.set_num_threads(machine.usable_cores())
    run = record.Run(
        stage="export",
        inputs=[weights],
        outputs=[target],
        settings={"arch": arch, "batch_size": batch_size, "input": input_kind, "opset": OPSET},
        packages=["torch", "onnx", "onnxruntime", "numpy"],
    )
    with record.keeping(run):
        source = checkpoint.load(weights, arch)
        progress.detail(f"checkpoint: {source.kind}, md5 {source.md5}, {source.provenance}")
        network = source.network()
        progress.next_step()
        model = _to_onnx(_for_input(source.network(), input_kind), batch_size, input_kind)
        _check_graph(model)
        progress.next_step()
        difference, relative = _compare(model, network, batch_size, input_kind)
        progress.next_step()
        atomic.write_bytes(target, model)
        exported = Exported(
            checkpoint=source,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            difference=difference,
            relative=relative,
            path=target,
            seconds=time.perf_counter() - started,
        )
        run.counts = {"parameters": exported.parameters, "classes": source.classes}
        run.details = {
            "checkpoint": {
                "kind": source.kind,
                "md5": source.md5,
                "published": source.is_published,
            },
            "difference_to_torch": {
                "greatest": difference,
                "relative": relative,
                "allowed_relative": ALLOWED,
            },
        }
        run.verdict = str(exported)
    return exported


def check_paths(weights: Path, target: Path) -> None:
    """Raise PipelineError before the work where its result could not be written."""
    if weights.is_dir():
        raise PipelineError(f"{weights}: is a folder", "give a checkpoint file (.pth)")
    places.check_file(target, [weights])


def _for_input(network: nn.Module, input_kind: str) -> nn.Module:
    return PixelInput(network).eval() if input_kind == "uint8" else network


def _to_onnx(network: nn.Module, batch_size: int | None, input_kind: str) -> bytes:
    """Return the serialised model."""
    pixels = _pixels(batch_size or 1)
    example = torch.from_numpy(pixels if input_kind == "uint8" else _normalised(pixels))
    free = None if batch_size else {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # torch recommends its newer exporter here, which cannot write opset 11; and tracing warns
        # of branches that this network does not have.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        torch.onnx.export(
            network,
            (example,),
            buffer,  # type: ignore[arg-type]  # a file object is what this exporter takes
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=free,
        )
    return _without_aliases(buffer.getvalue())


def _without_aliases(data: bytes) -> bytes:
    """Return the model with every Identity of a constant taken out.

    The exporter stores equal tensors once and gives the others' users a copy through Identity. A
    network that was never trained has many: each batch norm of it holds the same zeros.
    """
    model = onnx.load_model_from_string(data)
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    alias = {
        node.output[0]: node.input[0]
        for node in nodes
        if node.op_type == "Identity" and node.input[0] in constants
    }
    if not alias:
        return data
    for node in nodes:
        node.input[:] = [alias.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(node for node in nodes if node.output[0] not in alias)
    plain: bytes = model.SerializeToString(deterministic=True)
    return plain


def _check_graph(data: bytes) -> None:
    """Raise PipelineError where the model is not the plain opset-11 graph that was asked for."""
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    opsets = [(entry.domain, entry.version) for entry in model.opset_import]
    if opsets != [("", OPSET)]:
        raise PipelineError(
            f"the exporter wrote opset {opsets}, not {OPSET}", "install requirements.txt"
        )
    odd = {node.op_type for node in model.graph.node} - EXPECTED_OPS
    if odd:
        raise PipelineError(
            f"the exporter wrote {', '.join(sorted(odd))}, which the folded network has not",
            "install requirements.txt",
        )


def _compare(
    data: bytes, network: nn.Module, batch_size: int | None, input_kind: str
) -> tuple[float, float]:
    """Return the greatest difference between ONNX Runtime and torch, absolute and relative.

    Both see the same seeded pictures; torch sees them normalised, whatever the model's input is.
    """
    session = _session(data)
    differences: list[float] = []
    scales: list[float] = []
    for size in _batches(batch_size):
        pixels = _pixels(size)
        tensors = _normalised(pixels)
        with torch.inference_mode():
            expected = network(torch.from_numpy(tensors)).numpy()
        feed = pixels if input_kind == "uint8" else tensors
        (answer,) = session.run([OUTPUT], {INPUT: feed})
        if not (np.isfinite(expected).all() and np.isfinite(answer).all()):
            raise PipelineError(
                "the network answers NaN or infinity to an ordinary picture",
                "the checkpoint's values are beyond float32; give another",
            )
        differences.append(float(np.abs(answer - expected).max()))
        scales.append(float(np.abs(expected).max()))
    difference, scale = max(differences), max(scales)
    relative = difference / scale if scale else difference
    if relative > ALLOWED:
        raise PipelineError(
            f"ONNX Runtime and torch differ by {difference:.1e} (relative {relative:.1e}, "
            f"allowed {ALLOWED:.0e}), so no file was written",
            "install the versions of requirements.txt, and try once more",
        )
    return difference, relative


def _batches(batch_size: int | None) -> Sequence[int]:
    return TRIED_BATCHES if batch_size is None else (batch_size,)


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine.usable_cores()
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _pixels(count: int) -> NDArray[np.uint8]:
    """Return `(count, 224, 224, 3)` seeded pictures: a coarse colour pattern under fine noise."""
    random = np.random.default_rng(SEED)
    cells = random.integers(0, 256, (count, 7, 7, 3)).repeat(CROP // 7, 1).repeat(CROP // 7, 2)
    noise = random.integers(-32, 33, cells.shape)
    pixels: NDArray[np.uint8] = np.clip(cells + noise, 0, 255).astype(np.uint8)
    return pixels


def _normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return `(N, 3, 224, 224)` tensors as the network was trained on them."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    tensors = (pixels.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(tensors.transpose(0, 3, 1, 2))
