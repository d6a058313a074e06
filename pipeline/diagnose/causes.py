"""Why a layer of a model answers otherwise than that of its checkpoint: known ways to go wrong.

A batch norm folded into its convolution multiplies each output channel of the weights by
g = gamma / sqrt(variance + epsilon) and adds beta - mean g. What a model did instead is read off
the ratio of its weights to the checkpoint's, channel by channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.diagnose.findings import some
from pipeline.diagnose.graph import CONV, POOL, Layer
from pipeline.diagnose.source import Point, Weights

_SAME = 1e-4  # of the greatest weight of a channel
_STEP_OF_INT8 = 1 / 127  # greatest error of a weight that was quantised with its channel's scale
_POOLING: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
_BITS_OF_BF16 = 2.0**-8
_AGAIN = "export the checkpoint anew with vovnet39_pth2onnx.py"
_POOL_ADVICE = "export it with MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)"


@dataclass(frozen=True)
class Cause:
    """What is wrong with a layer, and what to do about it."""

    said: str
    advice: str


@dataclass(frozen=True)
class Suspect:
    """A layer of the model beside that of the checkpoint; `training` as `Graph.trains` has it."""

    point: Point
    layer: Layer
    expected: NDArray[np.float32]
    found: NDArray[np.float32]
    training: bool


def of(suspect: Suspect) -> Cause | None:
    """Return the first cause of the table that fits, or None."""
    for cause in _CAUSES:
        if found := cause(suspect):
            return found
    return None


def same_weights(point: Point, layer: Layer, quantised: bool) -> bool | None:
    """Say whether a convolution's weights and bias are the checkpoint's; None: it has none."""
    folded = layer.folded()
    if point.weights is None or folded is None or folded[0].shape != point.weights.weight.shape:
        return None
    source = point.weights
    wanted = _rows(source.weight) * source.gain[:, None]
    allowed = _STEP_OF_INT8 if quantised else _SAME
    scale = np.abs(wanted).max()
    good = bool(np.abs(_rows(folded[0]) - wanted).max() <= allowed * scale)
    return good and bool(np.allclose(folded[1], source.bias, rtol=1e-2, atol=allowed * 10))


def _shape(suspect: Suspect) -> Cause | None:
    expected, found = suspect.expected.shape[1:], suspect.found.shape[1:]
    if expected == found:
        return None
    sizes = f"{'x'.join(map(str, found))} where the checkpoint's has {'x'.join(map(str, expected))}"
    if suspect.layer.kind == POOL:
        return Cause(
            f"the pooling rounds its output size down ({sizes}): ceil_mode is not set",
            _POOL_ADVICE,
        )
    return Cause(
        f"its output is {sizes}: stride, padding or kernel is another",
        "export the network of this project, whose layers are the checkpoint's",
    )


def _pooling(suspect: Suspect) -> Cause | None:
    if suspect.layer.kind != POOL:
        return None
    if suspect.layer.operator != "MaxPool":
        return Cause(f"the pooling is {suspect.layer.operator}, not MaxPool", _POOL_ADVICE)
    settings = suspect.layer.settings
    odd = {
        name: settings.get(name)
        for name, usual in _POOLING.items()
        if list(settings.get(name, [])) != usual
    }
    words = ", ".join(f"{name} {value}" for name, value in odd.items())
    return Cause(
        f"the pooling is another{f' ({words})' if words else ''}",
        _POOL_ADVICE,
    )


def _relu(suspect: Suspect) -> Cause | None:
    if suspect.layer.kind != CONV or not (suspect.found < 0).any():
        return None
    close = np.abs(np.maximum(suspect.found, 0) - suspect.expected).max()
    if close > 1e-3 * np.abs(suspect.expected).max():
        return None
    return Cause("the ReLU behind it is missing", "export the network with its ReLU")


def _training(suspect: Suspect) -> Cause | None:
    if not suspect.training:
        return None
    return Cause(
        "the batch norm runs in training mode, with the statistics of each batch",
        "call model.eval() before the export",
    )


def _norm(suspect: Suspect) -> Cause | None:
    """Return what was done to the batch norm, where the convolution's own weights are right."""
    folded, source = suspect.layer.folded(), suspect.point.weights
    if folded is None or source is None or folded[0].shape != source.weight.shape:
        return None
    own, given = _rows(source.weight), _rows(folded[0])
    power = np.square(own).sum(axis=1)
    if not power.all():
        return None
    gain = (given * own).sum(axis=1) / power
    left = np.abs(given - gain[:, None] * own).max(axis=1)
    if (left > _SAME * np.abs(given).max(axis=1).clip(1e-12)).any():
        return None  # the weights themselves are others
    for phrase in (_left_out, _epsilon, _bias_alone, _statistics):
        if found := phrase(gain, folded[1], source):
            return found
    return None


def _left_out(
    gain: NDArray[np.float64], bias: NDArray[np.float64], source: Weights
) -> Cause | None:
    if np.allclose(gain, 1, atol=_SAME) and np.allclose(bias, 0, atol=1e-6):
        return Cause(
            "its batch norm is left out", "export the network with its batch norm, after eval()"
        )
    return None


def _epsilon(gain: NDArray[np.float64], bias: NDArray[np.float64], source: Weights) -> Cause | None:
    able = np.abs(gain) > 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.square(source.gamma / gain) - source.variance
    # Where the variance is large the sum says little of a small number beside it.
    certain = able & (source.variance < np.median(source.variance[able]) + 1e-12)
    if not certain.any():
        return None
    epsilon = float(np.median(found[certain]))
    fits = np.allclose(gain, source.gamma / np.sqrt(source.variance + abs(epsilon)), rtol=2e-5)
    if not fits or np.isclose(epsilon, source.epsilon, rtol=0.05):
        return None
    wanted = source.beta - source.mean * gain
    if not np.allclose(bias, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max()):
        return None
    return Cause(
        f"its batch norm has the epsilon {epsilon:.3g} instead of {source.epsilon:g}",
        f"export with BatchNorm2d(eps={source.epsilon:g}), which is torch's own default",
    )


def _bias_alone(
    gain: NDArray[np.float64], bias: NDArray[np.float64], source: Weights
) -> Cause | None:
    if not np.allclose(gain, source.gain, rtol=1e-3):
        return None
    away = np.abs(bias - source.bias)
    if away.max() <= 1e-3 * np.abs(source.bias).max():
        return None
    if np.allclose(bias, source.beta, rtol=1e-3, atol=1e-6):
        what = "its batch norm does not subtract the running mean"
    else:
        count = int((away > 1e-3 * np.abs(source.bias).max()).sum())
        what = (
            f"its bias is another in {count} of {len(away)} channels, by {away.max():.3g} at most"
            f" (channel {int(away.argmax())})"
        )
    return Cause(what, _AGAIN)


def _statistics(
    gain: NDArray[np.float64], bias: NDArray[np.float64], source: Weights
) -> Cause | None:
    if np.allclose(gain, source.gain, rtol=1e-3):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = gain / source.gain
    span = f"{np.nanmin(ratio):.3g} to {np.nanmax(ratio):.3g} times as much"
    changed = np.flatnonzero(np.abs(ratio - 1) > 1e-3)
    if len(changed) * 2 < len(ratio):
        ends = [f"{end:.3g}" for end in (ratio[changed].min(), ratio[changed].max())]
        return Cause(
            f"{len(changed)} of {len(ratio)} output channels ({some(changed.tolist())}) scaled by"
            f" {' to '.join(dict.fromkeys(ends))}",
            _AGAIN,
        )
    return Cause(
        f"its batch norm has other statistics than the checkpoint's (channels come {span}), as"
        " after a pass in training mode",
        "call model.eval() before anything is run, load the checkpoint again, and export",
    )


def _rounded(suspect: Suspect) -> Cause | None:
    """Say whether the weights are the checkpoint's in fewer bits."""
    folded, source, stored = suspect.layer.folded(), suspect.point.weights, suspect.layer.weight
    if folded is None or source is None or stored is None or stored.dtype.kind != "f":
        return None
    if folded[0].shape != source.weight.shape:
        return None
    wanted = _rows(source.weight) * source.gain[:, None]
    if np.abs(_rows(folded[0]) - wanted).max() > _BITS_OF_BF16 * np.abs(wanted).max():
        return None
    single = stored.astype(np.float32)
    # Small numbers of bf16 are numbers of float16 as well.
    if not (np.ascontiguousarray(single).view(np.uint32) & 0xFFFF).any():
        name = "bf16"
    elif np.array_equal(single, single.astype(np.float16).astype(np.float32)):
        name = "float16"
    else:
        return None
    return Cause(
        f"its weights are the checkpoint's rounded to {name}",
        f"that is what {name} costs: where it is too much, export and convert in fp32",
    )


def _weights(suspect: Suspect) -> Cause | None:
    folded, source = suspect.layer.folded(), suspect.point.weights
    if folded is None or source is None or folded[0].shape != source.weight.shape:
        return None
    wanted = _rows(source.weight) * source.gain[:, None]
    away = np.abs(_rows(folded[0]) - wanted)
    scale = np.abs(wanted).max()
    values = int((away > _SAME * scale).sum())
    if not values:
        return None
    channels = np.flatnonzero((away > _SAME * scale).any(axis=1))
    return Cause(
        f"{values:,} of {away.size:,} weights are others, in {len(channels)} of {len(away)} output"
        f" channels ({some(channels.tolist())}), by {away.max():.3g} at most",
        f"was it exported from this checkpoint? {_AGAIN}",
    )


_CAUSES: Sequence[Callable[[Suspect], Cause | None]] = (
    _training,
    _shape,
    _relu,
    _norm,
    _rounded,
    _weights,
    _pooling,
)


def _rows(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return weight.reshape(len(weight), -1)
