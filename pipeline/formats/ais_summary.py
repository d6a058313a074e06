"""The summary of an ais_bench run: `<result folder>_summary.json`, before 2022-11-22 `sumary.json`.

Source: ais_bench, infer/summary.py. The throughput is 1000 x batch / mean execution time in ms; the
batch itself is not among the keys.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FLAGS = {"-m": "--model", "-d": "--device", "-i": "--input"}
_DEVICE = re.compile(r"(?:.*_)?device_?([0-9]+)(?:(?:_[0-9]+)?_summary)?\.json")
_KEPT = re.compile(r"ais_bench_batchsize_[0-9]+_device_[0-9]+\.json")


@dataclass(frozen=True)
class AisSummary:
    """Figures of one device: `throughput` in samples/s, `mean_ms` of one execution of a batch."""

    throughput: float
    mean_ms: float
    batch_size: int
    model: str | None
    device: int | None
    dataset: bool  # else pure inference


def is_summary(name: str) -> bool:
    """Say whether ais_bench gives a summary such a name, or run_all.sh what it keeps of one."""
    kept = _KEPT.fullmatch(name) is not None
    return kept or name == "sumary.json" or name.endswith("summary.json")


def from_text(text: str, name: str = "") -> AisSummary:
    """Return what a summary says; its file's name may tell the device. ValueError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    throughput = _figure(content.get("throughput"), "throughput")
    times = content.get("NPU_compute_time")
    mean_ms = _figure(times.get("mean") if isinstance(times, dict) else None, "NPU_compute_time")
    options = _options(content.get("args"))
    model, device = options.get("--model"), options.get("--device", "0")
    if match := _DEVICE.fullmatch(name):
        device = match[1]
    return AisSummary(
        throughput=throughput,
        mean_ms=mean_ms,
        batch_size=max(1, round(throughput * mean_ms / 1000)),
        model=Path(model).stem if model else None,
        device=int(device) if re.fullmatch("[0-9]{1,3}", device) else None,
        dataset="--input" in options or _KEPT.fullmatch(name) is not None,
    )


def _figure(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"it has no {key} that is a number")
    if not math.isfinite(value) or not 0 < value < 1e12:
        raise ValueError(f"its {key} is {value}, which no run can have")
    return float(value)


def _options(words: Any) -> dict[str, str]:
    """Return the options of a command line, by their long names."""
    found: dict[str, str] = {}
    given = [word for word in words if isinstance(word, str)] if isinstance(words, list) else []
    for place, word in enumerate(given):
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            following = given[place + 1] if place + 1 < len(given) else ""
            found[_FLAGS.get(name, name)] = value if equals else following
    return found
