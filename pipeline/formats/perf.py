"""Perf files: what the benchmark tool measured, in its own five lines or its one.

Source of layout and meaning: the perf files published with the guides of the Ascend ModelZoo.
Tags are those up to CANN 5.0 (`[infer]`, `[post]`); those since CANN 5.1 (`[inference]`,
`[postprocess]`) are read as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.formats.text import shown


@dataclass(frozen=True)
class DatasetPerf:
    """One run over a data set; rates in samples/s, latencies in ms per sample, except as noted."""

    e2e_rate: float  # samples of the whole run by its time
    e2e_latency_ms: float  # first sample in to last sample out, of the whole run
    read_rate: float
    read_latency_ms: float
    preprocess_rate: float
    preprocess_latency_ms: float
    infer_rate: float  # the inference stage inside the pipeline
    interface_rate: float  # the model's execution alone: the headline figure
    infer_latency_ms: float  # one inference call, copies included, by the batch size
    post_rate: float  # batches/s
    post_latency_ms: float  # per batch


@dataclass(frozen=True)
class PurePerf:
    """One pure inference run: `rate` in samples/s, `latency_ms` per sample.

    Each is a mean over rounds by itself, so they are not exact reciprocals.
    """

    rate: float
    latency_ms: float


@dataclass(frozen=True)
class PerfName:
    """What a perf file's name says; `model_type` of a data-set run, `model_stem` of a pure one.

    Of several devices together, `devices` has all and `device` is the first.
    """

    device: int
    model_type: str | None = None
    batch_size: int | None = None
    model_stem: str | None = None
    devices: tuple[int, ...] = ()


_DATASET_NAME = re.compile(r"perf_(.+)_batchsize_([0-9]+)_device_([0-9]+)\.txt", re.DOTALL)
_CARD_NAME = re.compile(
    r"perf_(.+)_batchsize_([0-9]+)_devices_([0-9]+(?:_[0-9]+)+)\.txt", re.DOTALL
)
_PURE_NAME = re.compile(r"PureInfer_perf_of_(.+)_in_device_([0-9]+)\.txt", re.DOTALL)

_LINES = (
    ("[e2e]", r"\[e2e\] throughputRate:%r, latency:%l"),
    ("[data read]", r"\[data read\] throughputRate:%r, moduleLatency:%l"),
    ("[preprocess]", r"\[preprocess\] throughputRate:%r, moduleLatency:%l"),
    (
        "[infer] or [inference]",
        r"\[infer(?:ence)?\] throughputRate:%r, Interface throughputRate:%r, moduleLatency:%l",
    ),
    ("[post] or [postprocess]", r"\[post(?:process)?\] throughputRate:%r, moduleLatency:%l"),
)
_PURE_LINE = r"ave_throughputRate\s*[=:]%r, ave_latency\s*[=:]%l"


def perf_name(model_type: str, batch_size: int, device: int) -> str:
    """Return the file name of a data-set run's figures."""
    return f"perf_{model_type}_batchsize_{batch_size}_device_{device}.txt"


def card_perf_name(model_type: str, batch_size: int, devices: Sequence[int]) -> str:
    """Return the file name of the figures of several devices together, a form of our own.

    Patterns for the files of one device do not match it: its rates are sums already.
    """
    return f"perf_{model_type}_batchsize_{batch_size}_devices_{'_'.join(map(str, devices))}.txt"


def pure_perf_name(model_stem: str, device: int) -> str:
    """Return the file name of a pure inference run's figures."""
    return f"PureInfer_perf_of_{model_stem}_in_device_{device}.txt"


def split_name(name: str) -> PerfName | None:
    """Return what a file name made by one of the functions above says, or None."""
    if match := _DATASET_NAME.fullmatch(name):
        return PerfName(int(match[3]), model_type=match[1], batch_size=int(match[2]))
    if match := _CARD_NAME.fullmatch(name):
        several = tuple(map(int, match[3].split("_")))
        return PerfName(several[0], match[1], int(match[2]), devices=several)
    if match := _PURE_NAME.fullmatch(name):
        return PerfName(int(match[2]), model_stem=match[1])
    return None


def to_text(perf: DatasetPerf | PurePerf) -> str:
    """Return the file's text: six significant digits, as C++ streams have by default."""
    if isinstance(perf, PurePerf):
        rate, latency = f"{perf.rate:.6g}samples/s", f"{perf.latency_ms:.6g}ms"
        return f"ave_throughputRate = {rate}, ave_latency = {latency}\n"
    p = perf
    return (
        f"[e2e] throughputRate: {p.e2e_rate:.6g}, latency: {p.e2e_latency_ms:.6g}\n"
        f"[data read] throughputRate: {p.read_rate:.6g}, "
        f"moduleLatency: {p.read_latency_ms:.6g}\n"
        f"[preprocess] throughputRate: {p.preprocess_rate:.6g}, "
        f"moduleLatency: {p.preprocess_latency_ms:.6g}\n"
        f"[infer] throughputRate: {p.infer_rate:.6g}, "
        f"Interface throughputRate: {p.interface_rate:.6g}, "
        f"moduleLatency: {p.infer_latency_ms:.6g}\n"
        f"[post] throughputRate: {p.post_rate:.6g}, moduleLatency: {p.post_latency_ms:.6g}\n"
    )


def from_text(text: str) -> DatasetPerf | PurePerf:
    """Return the figures of a perf file of either kind.

    Blank lines and white space around a line do not matter. ValueError, which names the line,
    where something else stands there, or a figure that is no finite number of at least zero.
    """
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError("line 1: the file is empty")
    if lines[0][1].startswith("ave_"):
        patterns: tuple[tuple[str, str], ...] = (("ave_throughputRate", _PURE_LINE),)
    else:
        patterns = _LINES
    figures: list[float] = []
    for (tag, pattern), (number, line) in zip(patterns, lines, strict=False):
        figures += _figures(pattern, tag, number, line)
    if len(lines) > len(patterns):
        raise ValueError(f"line {lines[len(patterns)][0]}: one line too many")
    if len(lines) < len(patterns):
        raise ValueError(f"line {lines[-1][0] + 1}: the {patterns[len(lines)][0]} line is missing")
    return PurePerf(*figures) if patterns is not _LINES else DatasetPerf(*figures)


def _figures(pattern: str, tag: str, number: int, line: str) -> list[float]:
    figure = r"\s*([-+.0-9a-zA-Z]+?)\s*"
    pattern = pattern.replace("%r", rf"{figure}(?:samples/s)?").replace("%l", rf"{figure}(?:ms)?")
    match = re.fullmatch(pattern, line)
    if match is None:
        raise ValueError(f"line {number}: not the {tag} line of a perf file: {shown(line)}")
    found = []
    for word in match.groups():
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"line {number}: {shown(word)} is no rate or latency")
        found.append(value)
    return found
