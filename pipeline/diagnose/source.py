"""The network of the checkpoint, layer by layer: what every layer of a model must answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models_vovnet import checkpoint
from models_vovnet.vovnet import OSA
from pipeline import machine
from pipeline.diagnose.graph import ADD, CONV, HEAD, MEAN, POOL

LOGITS = "classifier"
_FEATURES = "global average pooling"


@dataclass(frozen=True)
class Weights:
    """What a convolution and its batch norm hold, in float64."""

    weight: NDArray[np.float64]
    gamma: NDArray[np.float64]
    beta: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    epsilon: float

    @property
    def gain(self) -> NDArray[np.float64]:
        """What the batch norm multiplies each output channel by."""
        found: NDArray[np.float64] = self.gamma / np.sqrt(self.variance + self.epsilon)
        return found

    @property
    def bias(self) -> NDArray[np.float64]:
        """What it adds to each."""
        found: NDArray[np.float64] = self.beta - self.mean * self.gain
        return found


@dataclass(frozen=True)
class Point:
    """A place where the network's values are compared; `weights` where it is a convolution."""

    kind: str
    name: str
    weights: Weights | None = None


@dataclass(frozen=True)
class Trace:
    """All points in the order of the computation, and their values by name."""

    points: Sequence[Point]
    values: Mapping[str, NDArray[np.float32]]


class Source:
    """The network of a checkpoint in torch, in inference mode."""

    def __init__(self, path: Path, arch: str) -> None:
        torch.set_num_threads(machine.usable_cores())
        self._network = checkpoint.load(path, arch).network()
        self.head = (
            self._network.classifier.weight.double().numpy(),
            self._network.classifier.bias.double().numpy(),
        )

    def trace(self, tensors: NDArray[np.float32]) -> Trace:
        """Return what the network computes of normalised tensors (N, 3, 224, 224)."""
        points: list[Point] = []
        values: dict[str, NDArray[np.float32]] = {}

        def keep(kind: str, name: str, weights: Weights | None = None) -> Any:
            def hook(_module: nn.Module, _given: Any, answer: Tensor) -> None:
                points.append(Point(kind, name, weights))
                values[name] = answer.detach().numpy().copy()

            return hook

        def keep_features(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            points.append(Point(MEAN, _FEATURES))
            values[_FEATURES] = given[0].detach().numpy().copy()

        modules = dict(self._network.named_modules())
        handles = []
        for name, module in modules.items():
            if isinstance(module, nn.ReLU):
                short = name.removesuffix("/relu")
                weights = _weights(modules[f"{short}/conv"], modules[f"{short}/norm"])
                handles.append(module.register_forward_hook(keep(CONV, short, weights)))
            elif isinstance(module, nn.MaxPool2d):
                handles.append(module.register_forward_hook(keep(POOL, name)))
            elif isinstance(module, OSA) and module.residual:
                hook = keep(ADD, f"{name}, residual addition")
                handles.append(module.register_forward_hook(hook))
            elif name == LOGITS:
                handles.append(module.register_forward_pre_hook(keep_features))
                handles.append(module.register_forward_hook(keep(HEAD, LOGITS)))
        try:
            with torch.inference_mode():
                self._network(torch.from_numpy(tensors))
        finally:
            for handle in handles:
                handle.remove()
        return Trace(points, values)


def _weights(conv: nn.Module, norm: nn.Module) -> Weights:
    state = {key: value.double().numpy() for key, value in norm.state_dict().items()}
    return Weights(
        conv.state_dict()["weight"].double().numpy(),
        state["weight"],
        state["bias"],
        state["running_mean"],
        state["running_var"],
        float(getattr(norm, "eps", 1e-5)),
    )
