"""Tell a network that was never trained by its weights alone.

A convolution starts from independent draws of one distribution, normal or uniform, and batch norm
folded into it scales whole output channels. So the weights of each output channel, brought to mean
0 and variance 1, keep that distribution's fourth moment, 3 or 1.8, within the error of the sample:
the standard error of the mean of n fourth powers is sqrt((m8 - m4^2) / n), with m8 = 105 for the
normal and 9 for the uniform distribution. Training leaves none of that: its filters are far from
independent, and their fourth moments differ from layer to layer.

So a network with a trained last layer on random features, such as the bundled sample's, is told as
well; and a trained one cannot be mistaken for it, for every large convolution has to agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAYING = (
    "for a network that was never trained judges nothing, and this one's convolutions hold the "
    "random numbers that they began with"
)

# Fourth and eighth moment of each distribution at mean 0 and variance 1.
_MOMENTS = ((3.0, 105.0), (1.8, 9.0))
_ERRORS = 6.0
# Estimating mean and variance from k weights shifts the moment; k (k - 1) is corrected for, and
# this is left for what is not, and for generators that cut the tails off.
_SLACK = 0.02
_LEAST_PER_CHANNEL = 64
_LEAST_WEIGHTS = 4096
_ENOUGH_WEIGHTS = 200_000
_LEAST_LAYERS = 3
_AGREEING = 0.9


def is_untrained(model: Path) -> bool:
    """Say whether the convolutions of an ONNX model still hold what they were initialised with.

    False also where the model has fewer than three convolutions large enough to tell.
    """
    layers = [
        weights.reshape(len(weights), -1)[: -(-_ENOUGH_WEIGHTS // weights[0].size)].astype(
            np.float64
        )
        for weights in _convolutions(model)
        if weights.size >= _LEAST_WEIGHTS and weights[0].size >= _LEAST_PER_CHANNEL
    ]
    if len(layers) < _LEAST_LAYERS:
        return False
    agreeing = [
        sum(_agrees(layer, *moments) for layer in layers) / len(layers) for moments in _MOMENTS
    ]
    return max(agreeing) >= _AGREEING


def _agrees(weights: NDArray[np.float64], fourth: float, eighth: float) -> bool:
    """Say whether `(channels, k)` weights have the fourth moment of a distribution."""
    centred = weights - weights.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    alive = spread[:, 0] > 0
    scaled = centred[alive] / spread[alive]
    if not scaled.size:
        return False
    k = scaled.shape[1]
    # Of k normal draws, standardised by their own mean and variance, the fourth moment is
    # 3 (k - 1) / (k + 1) in expectation (Fisher 1930); other distributions differ by O(1 / k).
    found = float(np.square(np.square(scaled)).mean()) * (k + 1) / (k - 1)
    error = math.sqrt((eighth - fourth**2) / scaled.size)
    return bool(abs(found - fourth) < _ERRORS * error + _SLACK * fourth)


def _convolutions(model: Path) -> Iterator[NDArray[np.floating]]:
    """Yield the weights `(outputs, ...)` of every convolution."""
    import onnx
    from onnx import numpy_helper

    loaded = onnx.load_model(model, format="protobuf")
    constants = {tensor.name: tensor for tensor in loaded.graph.initializer}
    for node in loaded.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in loaded.graph.node:
        if node.op_type == "Conv" and node.input[1] in constants:
            weights = numpy_helper.to_array(
                constants[node.input[1]], base_dir=str(model.parent.resolve())
            )
            if weights.dtype.kind == "f":
                yield weights
