"""The summary of a run: what is printed, and the JSON beside the results or among them."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger("ais_bench")
_NAMES = ("min", "max", "mean", "median", "percentile(99%)")


def figures(times: list[float]) -> dict[str, float]:
    """Return min, max, mean, median and 99th percentile; zeros where there are no times."""
    if not times:
        return dict.fromkeys(_NAMES, 0.0)
    values = (*(f(times) for f in (np.min, np.max, np.mean, np.median)), np.percentile(times, 99))
    return dict(zip(_NAMES, map(float, values), strict=True))


def report(
    times: dict[str, list[float]],
    batch: int,
    files: dict[int, dict[str, list[str]]],
    prefix: Path | None,
    everything: bool,
) -> float:
    """Print the summary, write its file where there is a result folder; return the throughput."""
    content: dict[str, Any] = {"filesinfo": files, "args": sys.argv}
    logger.info("-----------------Performance Summary------------------")
    for name in ("H2D_latency", "NPU_compute_time", "D2H_latency"):
        found = figures(times[name])
        content[name] = {**found, "count": len(times[name])}
        if everything or name == "NPU_compute_time":
            shown = ", ".join(f"{key} = {value}" for key, value in found.items())
            logger.info("%s (ms): %s", name, shown)
    mean = content["NPU_compute_time"]["mean"]
    throughput = 1000 * batch / mean if mean else 0.0
    logger.info(
        "throughput 1000*batchsize.mean(%s)/NPU_compute_time.mean(%s): %s",
        *(batch, mean, throughput),
    )
    logger.info("------------------------------------------------------")
    content |= {
        "throughput": throughput,
        "npu_compute_time_list": times["NPU_compute_time"],
        "pid": os.getpid(),
    }
    if prefix is not None:
        # Before 2022-11-22 it was called so, and lay among the results.
        inside = os.environ.get("STANDIN_SUMMARY") == "inside"
        target = prefix / "sumary.json" if inside else Path(f"{prefix}_summary.json")
        target.write_text(json.dumps(content))
    return throughput
