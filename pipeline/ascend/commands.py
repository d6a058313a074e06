"""The tools' command lines, read: what a command will take, and what it will leave.

The commands themselves stand in cli/ascend_stages.sh, as the guide has them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.ascend import discover
from pipeline.errors import PipelineError
from pipeline.formats import perf

RESULT = Path("result")
_AIS_SPEED = re.compile(r"ais_bench_batchsize_([0-9]+)_device_([0-9]+)\.json")


@dataclass(frozen=True)
class Conversion:
    """One command of atc; `batch` is the first dimension of the first input."""

    words: tuple[str, ...]
    model: Path
    om: Path
    soc: str
    batch: int
    aipp: Path | None

    @property
    def log(self) -> Path:
        """Where the converter's text is kept."""
        return self.om.with_suffix(".atc.log")


@dataclass(frozen=True)
class Measurement:
    """One run of a tool over a data set."""

    words: tuple[str, ...]
    runner: str
    om: Path
    batch: int
    device: int

    @property
    def dumps(self) -> Path:
        """Where the results of the samples go."""
        return RESULT / f"dumpOutput_device{self.device}"

    @property
    def speed(self) -> Path:
        """Where the figures go."""
        return RESULT / speed_name(self.runner, self.batch, self.device)

    @property
    def log(self) -> Path:
        """Where the tool's text is kept."""
        return RESULT / f"{self.runner}_batchsize_{self.batch}_device_{self.device}.log"


def speed_name(runner: str, batch: int, device: int) -> str:
    """Return the name of the file with a run's figures: the tool's own, or ours for ais_bench."""
    if runner == discover.AIS_BENCH:
        return f"ais_bench_batchsize_{batch}_device_{device}.json"
    return perf.perf_name("vision", batch, device)


def batch_of_speed_file(name: str) -> int | None:
    """Return the batch size in the name of a file with a run's figures."""
    if match := _AIS_SPEED.fullmatch(name):
        return int(match[1])
    parts = perf.split_name(name)
    return parts.batch_size if parts else None


def conversion(words: Sequence[str]) -> Conversion:
    """Read a command of atc as the guide writes it; PipelineError where it lacks something."""
    flags = _flags(words)
    shape = _of(flags, "input_shape", words)
    batch = re.search(r":([0-9]+)", shape)
    aipp = flags.get("insert_op_conf")
    return Conversion(
        tuple(words),
        Path(_of(flags, "model", words)),
        Path(f"{_of(flags, 'output', words)}.om"),
        _of(flags, "soc_version", words),
        int(batch[1]) if batch else 0,
        Path(aipp) if aipp else None,
    )


def measurement(words: Sequence[str]) -> Measurement:
    """Read a command of the benchmark tool or of ais_bench; PipelineError as above."""
    flags = _flags(words)
    if "ais_bench" in words[:3]:
        runner, om, batch, device = discover.AIS_BENCH, "model", "batchsize", "device"
    else:
        runner, om, batch, device = discover.TOOL, "om_path", "batch_size", "device_id"
    return Measurement(
        tuple(words),
        runner,
        Path(_of(flags, om, words)),
        _number(flags, batch, words),
        _number(flags, device, words),
    )


def _flags(words: Sequence[str]) -> dict[str, str]:
    pairs = (word.lstrip("-").split("=", 1) for word in words if word.startswith("-"))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _of(flags: dict[str, str], name: str, words: Sequence[str]) -> str:
    if not flags.get(name):
        raise PipelineError(f"{' '.join(words[:3])}: {name} is missing", "write it as -name=value")
    return flags[name]


def _number(flags: dict[str, str], name: str, words: Sequence[str]) -> int:
    value = _of(flags, name, words)
    if not re.fullmatch("[0-9]{1,9}", value):
        raise PipelineError(f"{' '.join(words[:3])}: {name} is {value}", "give a whole number")
    return int(value)
