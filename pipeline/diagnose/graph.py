"""The layers of an ONNX model, in order: what can be compared with the network of a checkpoint.

A layer is a node with weights, a pooling or an addition, and what is done to its output element by
element: batch norm, ReLU, quantisation. Its value is looked at behind all of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

CONV, HEAD, POOL, ADD, MEAN = "conv", "head", "pool", "add", "mean"
_KINDS = {
    "Conv": CONV,
    "Gemm": HEAD,
    "MatMul": HEAD,
    "MaxPool": POOL,
    "AveragePool": POOL,
    "Add": ADD,
    "GlobalAveragePool": MEAN,
    "ReduceMean": MEAN,
}
_NORM = "BatchNormalization"
_RELUS = ("Relu", "Clip")
_QUANTISING = ("QuantizeLinear", "DequantizeLinear")
_BEHIND = (_NORM, *_RELUS, *_QUANTISING, "Identity")
_TRAINING = "training_mode"

Array = NDArray[Any]


@dataclass(frozen=True)
class Norm:
    """A batch norm that was not folded into its convolution."""

    scale: Array
    bias: Array
    mean: Array
    variance: Array
    epsilon: float
    training: bool


@dataclass(frozen=True)
class Layer:
    """One layer; `value` is the name of the tensor behind it, `settings` the node's attributes."""

    kind: str
    operator: str
    node: str
    value: str
    relu: bool
    weight: Array | None = None
    bias: Array | None = None
    norm: Norm | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def folded(self) -> tuple[Array, Array] | None:
        """Return weight and bias with the batch norm folded in, in float64; None without them."""
        if self.weight is None:
            return None
        weight = self.weight.astype(np.float64)
        zeros = np.zeros(len(weight))
        bias = zeros if self.bias is None else self.bias.astype(np.float64)
        if self.norm is None:
            return weight, bias
        gain = self.norm.scale / np.sqrt(self.norm.variance.astype(np.float64) + self.norm.epsilon)
        shape = (-1, *(1,) * (weight.ndim - 1))
        return weight * gain.reshape(shape), (bias - self.norm.mean) * gain + self.norm.bias


class Graph:
    """An ONNX model with its external data, and its layers by kind, in the order of the file."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load_model(path, format="protobuf")
        graph = self.model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._maker = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._users[name].append(node)
        self.layers: dict[str, list[Layer]] = defaultdict(list)
        for node in graph.node:
            if layer := self._layer(node):
                self.layers[layer.kind].append(layer)
        self.operators = {str(node.op_type) for node in graph.node}

    @property
    def trains(self) -> bool:
        """Say whether a batch norm takes its statistics from the batch, as in training."""
        return any(
            node.op_type == _NORM
            and (_attributes(node).get(_TRAINING) or sum(map(bool, node.output)) > 1)
            for node in self.model.graph.node
        )

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [value.name for value in self.model.graph.input if value.name not in self._constants]

    def with_outputs(self, names: list[str]) -> bytes:
        """Return the model with these tensors as outputs besides its own; ValueError: too large."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        there = {value.name for value in copy.graph.output}
        copy.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in there
        )
        data: bytes = copy.SerializeToString()
        return data

    def _layer(self, node: onnx.NodeProto) -> Layer | None:
        kind = _KINDS.get(node.op_type)
        if kind is None:
            return None
        weight = bias = None
        if kind in (CONV, HEAD):
            weight = self._value(node.input[1])
            bias = self._value(node.input[2]) if len(node.input) > 2 else None
            if weight is None:
                return None
            if node.op_type == "MatMul" or (kind == HEAD and not _attributes(node).get("transB")):
                weight = weight.T
        elif kind == ADD and any(self._value(name) is not None for name in node.input):
            return None  # a bias of its own node, or arithmetic of shapes
        value, relu, norm = self._behind(node.output[0])
        return Layer(
            kind, str(node.op_type), node.name, value, relu, weight, bias, norm, _attributes(node)
        )

    def _behind(self, name: str) -> tuple[str, bool, Norm | None]:
        """Follow what is done to a tensor element by element; return its last name, and what."""
        relu, norm = False, None
        while users := self._users.get(name, []):
            node = users[0]
            alike = all(user.op_type == node.op_type for user in users)
            if node.op_type not in _BEHIND or (len(users) > 1 and not alike):
                break
            if len(users) > 1 and node.op_type not in _QUANTISING:
                break
            if node.op_type == _NORM:
                norm = self._norm(node)
            relu = relu or node.op_type in _RELUS
            name = node.output[0]
        return name, relu, norm

    def _norm(self, node: onnx.NodeProto) -> Norm | None:
        values = [self._value(name) for name in node.input[1:5]]
        if any(value is None for value in values) or len(values) != 4:
            return None
        scale, bias, mean, variance = (np.asarray(value) for value in values)
        found = _attributes(node)
        epsilon = float(found.get("epsilon", 1e-5))
        return Norm(scale, bias, mean, variance, epsilon, bool(found.get(_TRAINING)))

    def _value(self, name: str) -> Array | None:
        """Return a constant, also one that is stored quantised or behind an Identity."""
        if name in self._constants:
            return np.asarray(numpy_helper.to_array(self._constants[name]))
        node = self._maker.get(name)
        if node is None:
            return None
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            return np.asarray(numpy_helper.to_array(node.attribute[0].t))
        if node.op_type == "Identity":
            return self._value(node.input[0])
        if node.op_type == "DequantizeLinear":
            return self._dequantised(node)
        return None

    def _dequantised(self, node: onnx.NodeProto) -> Array | None:
        stored, scale = self._value(node.input[0]), self._value(node.input[1])
        if stored is None or scale is None:
            return None
        zero = self._value(node.input[2]) if len(node.input) > 2 else None
        if scale.ndim:
            axis = int(_attributes(node).get("axis", 1))
            shape = [-1 if place == axis else 1 for place in range(stored.ndim)]
            scale = scale.reshape(shape)
            zero = zero.reshape(shape) if zero is not None else None
        whole = stored.astype(np.float64) - (0 if zero is None else zero.astype(np.float64))
        return np.asarray(whole * scale)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
