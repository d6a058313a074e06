"""Checkpoint against model, layer by layer: the first layer that parts, by how much, and why."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import progress
from pipeline.diagnose import causes, network
from pipeline.diagnose.causes import Cause, Suspect
from pipeline.diagnose.compare import Difference, difference
from pipeline.diagnose.findings import DIFFERS, EXPLAINED, SAME, Step
from pipeline.diagnose.graph import CONV, HEAD, Graph, Layer
from pipeline.diagnose.network import FP32, LAYERS, Model
from pipeline.diagnose.source import LOGITS, Point, Source, Trace
from pipeline.errors import PipelineError

_ANEW = "export the checkpoint anew with vovnet39_pth2onnx.py"
_MOST_WEIGHTS = 1 << 30  # bytes of a model that is taken apart


@dataclass(frozen=True)
class Pair:
    """A place in the network with the model's layer for it, and how far they are apart."""

    point: Point
    layer: Layer
    expected: NDArray[np.float32]
    found: NDArray[np.float32]
    away: Difference


def examine(
    source: Source,
    trace: Trace,
    model: Model,
    pixels: NDArray[np.uint8],
    logits: Difference,
    *,
    training: bool,
    verbose: bool,
) -> Step:
    """Compare every layer of the model with the checkpoint's network, on the same pictures.

    `trace` is what the network computed, `pixels` the same pictures for the model, and `logits` is
    how far apart the answers are. `training` says that answers depend on the batch.
    """
    within = network.limit_of(model, None)
    size = sum(path.stat().st_size for path in model.file.files)
    if size > _MOST_WEIGHTS:
        return _whole(logits, within(logits), f"a model of {size:,} bytes is not taken apart")
    graph = Graph(model.path)
    points, values = trace.points, trace.values
    counts = _counts(points, graph)
    if counts:
        return _whole(logits, within(logits), counts)
    pairs = _pairs(points, values, graph, model, pixels)
    for pair in pairs if verbose else ():
        progress.note(f"{pair.point.name}: {pair.away}")
    first = next((p for p in pairs if not p.away.relative <= FP32), None)
    smallest = max(pair.away.relative for pair in pairs)
    figures = _figures(pairs, first, smallest, logits)
    if first is None:
        detail = f"{len(pairs)} layers, smallest tolerance that passes {smallest:.1e}"
        return Step(LAYERS, SAME, str(logits), detail, figures=figures)
    if model.quantised:
        return _quantised(pairs, logits, within(logits), figures)
    if logits.relative <= FP32 and all(p.away.sqnr_db > 60 for p in pairs):
        detail = f"{len(pairs)} layers, smallest tolerance that passes {smallest:.1e}"
        return Step(LAYERS, SAME, str(logits), detail, figures=figures)
    trains = training or graph.trains
    return _parted(pairs, first, trains, source, smallest, figures)


def _whole(logits: Difference, good: bool, why: str) -> Step:
    """Return the step where layers cannot be paired: by the answers alone."""
    if good:
        return Step(LAYERS, SAME, str(logits), f"the logits alone: {why}", figures=logits.figures())
    return Step(
        LAYERS,
        DIFFERS,
        str(logits),
        why,
        f"the model is not the network of the checkpoint: {why}, and its logits differ ({logits})",
        _ANEW,
        logits.figures(),
    )


def _counts(points: Sequence[Point], graph: Graph) -> str:
    """Say where the model has another number of layers; empty where they are the same."""
    found = []
    for kind, noun in ((CONV, "convolutions"), (HEAD, "linear layers")):
        wanted = sum(point.kind == kind for point in points)
        there = len(graph.layers[kind])
        if there != wanted:
            found.append(f"{there} {noun} where the checkpoint has {wanted}")
    return " and ".join(found)


def _pairs(
    points: Sequence[Point],
    values: Mapping[str, NDArray[np.float32]],
    graph: Graph,
    model: Model,
    pixels: NDArray[np.uint8],
) -> list[Pair]:
    """Pair points and layers of one kind by their order, and run the model for all of them."""
    seen: dict[str, int] = defaultdict(int)
    matched: list[tuple[Point, Layer]] = []
    for point in points:
        layers = graph.layers[point.kind]
        if seen[point.kind] < len(layers):
            matched.append((point, layers[seen[point.kind]]))
        seen[point.kind] += 1
    found = _run(graph, [layer.value for _, layer in matched], model, pixels)
    return [
        _pair(point, layer, values[point.name], found[layer.value])
        for point, layer in matched
        if layer.value in found
    ]


def _pair(point: Point, layer: Layer, expected: NDArray[np.float32], found: NDArray[Any]) -> Pair:
    if found.ndim != expected.ndim and found.size == expected.size:
        found = found.reshape(expected.shape)  # pooled features, with or without their two axes
    return Pair(point, layer, expected, found, difference(expected, found))


def _run(
    graph: Graph, names: Sequence[str], model: Model, pixels: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """Return the model's tensors of these names for all pictures."""
    import onnxruntime

    if model.feed is None:
        return {}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            graph.with_outputs(list(names)), options, providers=["CPUExecutionProvider"]
        )
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in dict.fromkeys(names)}
        values = model.feed(pixels)
        for first in range(0, len(values), model.batch):
            part = values[first : first + model.batch]
            full = np.concatenate([part, part[-1:].repeat(model.batch - len(part), axis=0)])
            answers = session.run(list(parts), {graph.inputs[0]: full})
            for name, answer in zip(parts, answers, strict=True):
                parts[name].append(np.asarray(answer)[: len(part)])
    except Exception as error:  # ONNX Runtime has no base class for its own
        words = " ".join(str(error).split())[:200]
        raise PipelineError(f"{model.path} does not show its layers: {words}", _ANEW) from error
    return {name: np.concatenate(part) for name, part in parts.items()}


def _quantised(
    pairs: Sequence[Pair], logits: Difference, good: bool, figures: dict[str, Any]
) -> Step:
    """Judge an int8 model by its logits, and name the layer that loses most."""
    falls = [(b.away.sqnr_db - a.away.sqnr_db, b) for a, b in itertools.pairwise(pairs)]
    worst = min(falls, key=lambda pair: pair[0])[1] if falls else pairs[0]
    detail = (
        f"int8: first layer {pairs[0].away.sqnr_db:.1f} dB, the greatest loss in"
        f" {worst.point.name} (then {worst.away.sqnr_db:.1f} dB)"
    )
    if good:
        return Step(LAYERS, SAME, f"{logits}, expected of int8", detail, figures=figures)
    others = [p for p in pairs if causes.same_weights(p.point, p.layer, True) is False]
    advice = "quantise anew with vovnet39_quantize.py, on real pictures and per channel"
    if others:
        convolutions = sum(pair.point.kind == CONV for pair in pairs)
        said = (
            f"the int8 model has other weights than the checkpoint in {len(others)} of"
            f" {convolutions} convolutions, the first {others[0].point.name} ({logits})"
        )
        advice = f"{_ANEW}, and quantise that with vovnet39_quantize.py"
    else:
        said = (
            f"the int8 model loses more than int8 should ({logits}), most of it in"
            f" {worst.point.name}"
        )
    return Step(LAYERS, DIFFERS, str(logits), detail, said, advice, figures)


def _parted(
    pairs: Sequence[Pair],
    first: Pair,
    training: bool,
    source: Source,
    smallest: float,
    figures: dict[str, Any],
) -> Step:
    cause = causes.of(
        Suspect(first.point, first.layer, first.expected, first.found, training)
    ) or _head(first, source)
    others = [p for p in pairs if causes.same_weights(p.point, p.layer, False) is False]
    convs = [p for p in pairs if p.point.kind == CONV]
    spread = f"; other weights in {len(others)} of {len(convs)} convolutions" if others else ""
    where = f"{first.point.name} ({first.layer.node or first.layer.value})"
    detail = f"first {where}: {first.away}; smallest tolerance that passes {smallest:.1e}{spread}"
    if cause is None:
        said = f"the model parts from its checkpoint at {where}, by {first.away}"
        return Step(LAYERS, DIFFERS, str(first.away), detail, said, _ANEW, figures)
    if convs and len(others) == len(convs) and "weights are others" in cause.said:
        cause = Cause("the weights of all layers are others: it is of another checkpoint", _ANEW)
    said = f"the model parts from its checkpoint at {where}: {cause.said}{spread}"
    return Step(LAYERS, EXPLAINED, str(first.away), detail, said, cause.advice, figures)


def _head(pair: Pair, source: Source) -> Cause | None:
    """Say what is wrong with the linear layer."""
    if pair.point.name != LOGITS or pair.layer.weight is None:
        return None
    weight, bias = source.head
    given = pair.layer.weight
    if given.shape != weight.shape:
        return Cause(f"it has {len(given)} outputs where the checkpoint has {len(weight)}", _ANEW)
    away = np.abs(given - weight).max(axis=1)
    rows = int((away > 1e-4 * np.abs(weight).max()).sum())
    if rows:
        return Cause(f"the weights of {rows} of {len(weight)} classes are others", _ANEW)
    if pair.layer.bias is None or np.abs(pair.layer.bias - bias).max() > 1e-4 * np.abs(bias).max():
        return Cause("its bias is another, or missing", _ANEW)
    return None


def _figures(
    pairs: Sequence[Pair], first: Pair | None, smallest: float, logits: Difference
) -> dict[str, Any]:
    return {
        "logits": logits.figures(),
        "first_layer": first.point.name if first else None,
        "smallest_relative_tolerance": smallest if math.isfinite(smallest) else str(smallest),
        "tolerance": FP32,
        "layers": [
            {"name": p.point.name, "kind": p.point.kind, "tensor": p.layer.value} | p.away.figures()
            for p in pairs
        ],
    }
