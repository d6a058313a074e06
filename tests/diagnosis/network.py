"""Faults of the conversion: models that are not quite the network of their checkpoint."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime import quantization
from torch import Tensor, nn

from models_vovnet import vovnet
from tests.diagnosis.fault import Fault, Plant
from tests.diagnosis.ground import ARCH, MEAN, STD, Ground, torchvision_transform

CLASSES = 1000
Change = Callable[[nn.Module], Any]


@cache
def network() -> nn.Module:
    """Return a network with random weights, and batch norms that are not trivial."""
    torch.manual_seed(7)
    made = vovnet.build(ARCH, CLASSES)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.normal_(module.bias, 0, 0.2)
            module.momentum = 1.0
    with torch.no_grad():
        made.train()
        made(torch.randn(4, 3, 224, 224))
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
        nn.init.normal_(made.classifier.weight, 0, 0.05)
    return made.eval()


def checkpoint(ground: Ground) -> Path:
    """Return the file of the network."""
    path = ground.folder / "source.pth"
    if not path.exists():
        torch.save(network().state_dict(), path)
    return path


def export(module: nn.Module, path: Path, batch: int = 1, **options: Any) -> Path:
    """Write a network by torch's own exporter, with a free batch."""
    buffer = io.BytesIO()
    example = options.pop("example", torch.randn(batch, 3, 224, 224))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=options.pop("opset", 13),
            input_names=["image"],
            output_names=["class"],
            dynamic_axes={"image": {0: "n"}, "class": {0: "n"}},
            **options,
        )
    path.write_bytes(buffer.getvalue())
    return path


def _exported(key: str, change: Change, **options: Any) -> Plant:
    """Return a plant of a model whose network was changed before the export."""

    def plant(ground: Ground) -> Sequence[object]:
        changed = copy.deepcopy(network())
        with torch.no_grad():
            changed = change(changed) or changed
        model = export(changed, ground.folder / f"{key}.onnx", **options)
        return ["--checkpoint", checkpoint(ground), "--arch", ARCH, "--model", model]

    return plant


def _edited(key: str, edit: Callable[[onnx.ModelProto], None]) -> Plant:
    """Return a plant of a model whose graph was changed after the export."""

    def plant(ground: Ground) -> Sequence[object]:
        path = export(copy.deepcopy(network()), ground.folder / f"{key}.onnx")
        model = onnx.load_model(path)
        edit(model)
        onnx.save_model(model, path)
        return ["--checkpoint", checkpoint(ground), "--arch", ARCH, "--model", path]

    return plant


def _other_weights(module: Any) -> None:
    torch.manual_seed(99)
    for inner in module.modules():
        if isinstance(inner, nn.Conv2d):
            nn.init.kaiming_normal_(inner.weight)


def _one_channel(module: Any) -> None:
    module.stage3.OSA3_1.layers[2][0].weight[7] *= 1.5


def _one_weight(module: Any) -> None:
    module.stage4.OSA4_1.layers[0][0].weight[3, 2, 1, 1] += 0.3


def _without_relu(module: Any) -> None:
    module.stage3.OSA3_1.layers[1][2] = nn.Identity()


def _floor(module: Any) -> None:
    module.stage4.Pooling.ceil_mode = False


def _smaller_pooling(module: Any) -> None:
    module.stage3.Pooling = nn.MaxPool2d(2, 2)


def _average(module: Any) -> None:
    module.stage3.Pooling = nn.AvgPool2d(3, 2, ceil_mode=True)


def _epsilon(module: Any) -> None:
    for inner in module.modules():
        if isinstance(inner, nn.BatchNorm2d):
            inner.eps = 1e-3


def _after_training(module: Any) -> None:
    module.train()
    torch.manual_seed(1)
    for _ in range(3):
        module(3 * torch.randn(2, 3, 224, 224) + 1)
    module.eval()


def _no_norm(module: Any) -> None:
    module.stem[4] = nn.Identity()


def _no_mean(module: Any) -> None:
    module.stage2.OSA2_1.layers[3][1].running_mean.zero_()


def _classes_exchanged(module: Any) -> None:
    module.classifier.weight[[4, 5]] = module.classifier.weight[[5, 4]]


class BatchStatistics(nn.Module):
    """A batch norm by the statistics of the batch, of operations that every runtime has."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean(dim=(0, 2, 3), keepdim=True)
        scale = self.norm.weight.reshape(1, -1, 1, 1)
        bias = self.norm.bias.reshape(1, -1, 1, 1)
        return (x - mean) / torch.sqrt(variance + self.norm.eps) * scale + bias


def _training(module: Any) -> None:
    module.stem[1] = BatchStatistics(module.stem[1])


class FromPixels(nn.Module):
    """A network that normalises BGR pixels of 0 to 255 itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner((x.flip(1) / 255 - self.mean) / self.std)
        return found


def _weights_of(model: onnx.ModelProto, place: int) -> onnx.TensorProto:
    node = [node for node in model.graph.node if node.op_type == "Conv"][place]
    found = [tensor for tensor in model.graph.initializer if tensor.name == node.input[1]]
    assert isinstance(found[0], onnx.TensorProto)
    return found[0]


def _perturbed_in_file(model: onnx.ModelProto) -> None:
    tensor = _weights_of(model, 1)
    values = numpy_helper.to_array(tensor).copy()
    values[5] += 0.05
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _strided(model: onnx.ModelProto) -> None:
    """Give one convolution a bias of nothing, as a converter that loses it would."""
    node = [node for node in model.graph.node if node.op_type == "Conv"][3]
    del node.input[2:]


def _half_weights(model: onnx.ModelProto) -> None:
    """Round all weights to bf16, as a model that was converted through it has them."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == "float32" and values.ndim == 4:
            rounded = torch.from_numpy(values.copy()).bfloat16().float().numpy()
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))


def _renamed(model: onnx.ModelProto) -> None:
    """Give every tensor another name, as other exporters do."""
    names = {name: f"t{i}" for i, node in enumerate(model.graph.node) for name in node.output}
    names["class"] = "class"
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]


def _fixed_batch(ground: Ground) -> Sequence[object]:
    path = export(copy.deepcopy(network()), ground.folder / "fixed.onnx", batch=4)
    model = onnx.load_model(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save_model(model, path)
    return ["--checkpoint", checkpoint(ground), "--arch", ARCH, "--model", path]


def _project(kind: str) -> Plant:
    """Return a plant of this project's own model for an input of that kind."""

    def plant(ground: Ground) -> Sequence[object]:
        from pipeline import export as own

        path = ground.folder / f"own_{kind}.onnx"
        own.export(checkpoint(ground), path, ARCH, None, kind)
        given = ["--checkpoint", checkpoint(ground), "--arch", ARCH, "--model", path]
        if kind == "float32":
            return [*given, "--bins", ground.right_bins]
        from torchvision import transforms

        pixels = torchvision_transform(
            tensor=transforms.PILToTensor(),
            normalise=transforms.Lambda(lambda t: t.permute(1, 2, 0)),
        )
        return [*given, "--bins", ground.bins("right_pixels", pixels, dtype="u1")]

    return plant


def _tensors_for_pixels(ground: Ground) -> Sequence[object]:
    words = list(_project("uint8")(ground))
    return [*words[:-1], ground.right_bins]


class _Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Some of the right .bin files, for ranges."""

    def __init__(self, ground: Ground) -> None:
        self._paths = iter([ground.right_bins / f"{name}.bin" for name in ground.names[:6]])

    def get_next(self) -> dict[str, Any] | None:
        path = next(self._paths, None)
        if path is None:
            return None
        return {"image": np.fromfile(path, np.float32).reshape(1, 3, 224, 224)}


def _int8(key: str, change: Change) -> Plant:
    """Return a plant of an int8 model, by ONNX Runtime's own quantisation."""

    def plant(ground: Ground) -> Sequence[object]:
        words = list(_exported(f"{key}_fp32", change)(ground))
        target = ground.folder / f"{key}.onnx"
        quantization.quantize_static(
            words[-1],
            target,
            _Pictures(ground),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return [*words[:-1], target]

    return plant


def _no_checkpoint(ground: Ground) -> Sequence[object]:
    return ["--model", ground.classifier]


LAYERS = (
    Fault(
        "model of another checkpoint",
        "layers",
        ("stem.stem_1", "all layers", "another checkpoint"),
        _exported("weights", _other_weights),
    ),
    Fault(
        "one channel of one layer scaled by 1.5",
        "layers",
        ("OSA3_1_2", "1 of 80", "(7)", "1.5"),
        _exported("channel", _one_channel),
    ),
    Fault(
        "one weight of one layer changed",
        "layers",
        ("OSA4_1_0", "1 of ", "weights are others"),
        _exported("weight", _one_weight),
    ),
    Fault(
        "one channel changed in the ONNX file",
        "layers",
        ("stem_2", "weights are others", "(5)"),
        _edited("infile", _perturbed_in_file),
    ),
    Fault("a ReLU missing", "layers", ("OSA3_1_1", "ReLU"), _exported("relu", _without_relu)),
    Fault(
        "pooling without ceil_mode",
        "layers",
        ("stage4.Pooling", "ceil_mode"),
        _exported("floor", _floor),
    ),
    Fault(
        "pooling of 2x2",
        "layers",
        ("stage3.Pooling", "pooling is another"),
        _exported("pool2", _smaller_pooling),
    ),
    Fault(
        "average instead of maximum pooling",
        "layers",
        ("stage3.Pooling", "AveragePool"),
        _exported("average", _average),
    ),
    Fault(
        "batch norm with epsilon 1e-3",
        "layers",
        ("stem_1", "epsilon 0.001"),
        _exported("eps", _epsilon),
    ),
    Fault(
        "batch norm statistics after a pass in training mode",
        "layers",
        ("stem_1", "training mode"),
        _exported("statistics", _after_training),
    ),
    Fault("batch norm left out", "layers", ("stem_2", "left out"), _exported("nonorm", _no_norm)),
    Fault(
        "running mean lost", "layers", ("OSA2_1_3", "running mean"), _exported("nomean", _no_mean)
    ),
    Fault("a bias lost in the file", "layers", ("bias",), _edited("nobias", _strided)),
    Fault(
        "two classes exchanged in the last layer",
        "layers",
        ("classifier", "2 of 1000 classes"),
        _exported("classes", _classes_exchanged),
    ),
    Fault(
        "weights rounded to bf16",
        "layers",
        ("stem_1", "rounded to bf16"),
        _edited("bf16", _half_weights),
    ),
    Fault(
        "batch norm in training mode",
        "layers",
        ("stem_1", "training mode"),
        _exported("training", _training, batch=2),
    ),
)
INT8 = (
    Fault(
        "int8 of another checkpoint",
        "layers",
        ("int8", "other weights"),
        _int8("int8_other", _other_weights),
    ),
)
INPUT = (
    Fault(
        "a model that normalises BGR pixels itself",
        "model input",
        ("BGR pixels from 0 to 255",),
        _exported("pixels", FromPixels),
    ),
    Fault(
        "tensors for a model that takes pixels", "layout", ("float32", "uint8"), _tensors_for_pixels
    ),
)
CONTROLS = (
    Fault("int8 by ONNX Runtime's own recipe", "", (), _int8("int8", lambda module: None)),
    Fault("this project's model and torchvision's files", "", (), _project("float32")),
    Fault("this project's model for pixels, and pixels", "", (), _project("uint8")),
    Fault(
        "torch's export with batch norms unfolded",
        "",
        (),
        _exported(
            "unfolded",
            lambda m: None,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        ),
    ),
    Fault("another exporter's names", "", (), _edited("renamed", _renamed)),
    Fault("a batch fixed to 4", "", (), _fixed_batch),
    Fault("a model of another kind, no checkpoint", "", (), _no_checkpoint),
)
ALL = (*LAYERS, *INT8, *INPUT, *CONTROLS)
