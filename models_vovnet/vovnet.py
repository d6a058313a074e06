"""VoVNet with one-shot aggregation (OSA) blocks, under the published checkpoint's names.

Architecture: Lee et al., "An Energy and GPU-Computation Efficient Backbone Network for Real-Time
Object Detection", CVPR Workshops 2019, table 1; the residual additions are those of the ImageNet
training code that the published weights come from.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from models_vovnet.family import ARCHS, Arch

LAYERS_PER_BLOCK = 5


def _conv_norm_relu(
    name: str, inputs: int, outputs: int, kernel: int, stride: int = 1
) -> OrderedDict[str, nn.Module]:
    """Return convolution, batch norm and ReLU under the checkpoint's key names."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return OrderedDict(
        [
            (f"{name}/conv", conv),
            (f"{name}/norm", nn.BatchNorm2d(outputs)),
            (f"{name}/relu", nn.ReLU(inplace=True)),
        ]
    )


class OSA(nn.Module):
    """One-shot aggregation: five 3x3 layers in a row, one 1x1 over the input and all five.

    `(N, inputs, H, W) -> (N, outputs, H, W)`; with `residual` the input is added to the result.
    """

    def __init__(self, name: str, inputs: int, stage: int, outputs: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.ModuleList(
            nn.Sequential(_conv_norm_relu(f"{name}_{i}", stage if i else inputs, stage, 3))
            for i in range(LAYERS_PER_BLOCK)
        )
        together = inputs + LAYERS_PER_BLOCK * stage
        self.concat = nn.Sequential(_conv_norm_relu(f"{name}_concat", together, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the aggregated features."""
        features = [x]
        for layer in self.layers:
            features.append(layer(features[-1]))
        out: Tensor = self.concat(torch.cat(features, dim=1))
        return out + x if self.residual else out


class VoVNet(nn.Module):
    """`(N, 3, H, W)` float32, normalised as for ImageNet -> `(N, classes)` logits."""

    def __init__(self, arch: Arch, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv_norm_relu("stem_1", 3, 64, 3, stride=2)
            | _conv_norm_relu("stem_2", 64, 64, 3)
            | _conv_norm_relu("stem_3", 64, 128, 3, stride=2)
        )
        inputs = 128
        for i, (stage, outputs, blocks) in enumerate(
            zip(arch.stage_channels, arch.output_channels, arch.blocks, strict=True)
        ):
            number = i + 2
            parts: OrderedDict[str, nn.Module] = OrderedDict()
            if number > 2:
                parts["Pooling"] = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
            for block in range(1, blocks + 1):
                name = f"OSA{number}_{block}"
                parts[name] = OSA(name, inputs, stage, outputs, residual=block > 1)
                inputs = outputs
            setattr(self, f"stage{number}", nn.Sequential(parts))
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features, `(N, output channels of stage 5)`."""
        x = self.stem(x)
        for number in range(2, 6):
            x = getattr(self, f"stage{number}")(x)
        return torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


def build(arch: str, classes: int = 1000) -> VoVNet:
    """Return an untrained network of the family; `arch` is a key of `ARCHS`."""
    return VoVNet(ARCHS[arch], classes)


def vovnet27_slim(classes: int = 1000) -> VoVNet:
    """Return an untrained VoVNet-27-slim."""
    return build("vovnet27_slim", classes)


def vovnet39(classes: int = 1000) -> VoVNet:
    """Return an untrained VoVNet-39: 22,600,296 parameters, 7.07 GMAC at 224x224."""
    return build("vovnet39", classes)


def vovnet57(classes: int = 1000) -> VoVNet:
    """Return an untrained VoVNet-57."""
    return build("vovnet57", classes)
