"""Interleaved rounds behind a load gate, and commands measured from outside.

Variants take turns (A B C A B C ...), so that whatever changes on the machine meets all of them.
A visit during which other processes used more than `MOST_OTHERS` of the machine is thrown away and
made again, until the gate's patience is over; from then on every visit counts, and the result
says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import Watch
from pipeline import progress
from pipeline.errors import PipelineError

PROJECT = Path(__file__).resolve().parent.parent
MOST_OTHERS = 0.05
_PAUSE_S = 0.3
_LAUNCHER = Path(__file__).with_name("launch.py")
# Whatever the shell sets, each design runs with its own defaults, and is compiled once.
_SHELL_VARIABLES = (
    "PYTHONDONTWRITEBYTECODE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
)

Figures = dict[str, float]


@dataclass(frozen=True)
class Visit:
    """One measurement: its figures, and the share of the machine that others took meanwhile."""

    figures: Figures
    others: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they stand in a result file."""
        return {"figures": self.figures, "others_share": self.others}


@dataclass
class Gate:
    """Which visits count. `patience` is how many may be thrown away, all variants together."""

    patience: int
    thrown_away: int = 0
    accepted_busy: int = 0

    def passes(self, visit: Visit) -> bool:
        """Say whether `visit` counts, and keep count."""
        if visit.others is None or visit.others <= MOST_OTHERS:
            return True
        if self.thrown_away < self.patience:
            self.thrown_away += 1
            return False
        self.accepted_busy += 1
        return True

    def to_json(self) -> dict[str, Any]:
        """Return what the gate did."""
        return {
            "most_others_share": MOST_OTHERS,
            "patience": self.patience,
            "thrown_away": self.thrown_away,
            "accepted_busy": self.accepted_busy,
        }

    def sentence(self) -> str:
        """Return one sentence about it, for the table."""
        share = f"{MOST_OTHERS:.0%}"
        if not self.patience:
            return (
                f"Nothing was made again, although other processes used more than {share} of the"
                f" machine during {self.accepted_busy} visits."
            )
        text = f"{self.thrown_away} visits were made again because other processes used more than"
        text += f" {share} of the machine"
        if self.accepted_busy:
            text += (
                f"; then the patience was over, and {self.accepted_busy} visits count although"
                " they were disturbed: measure again on a quiet machine"
            )
        return text + "."


def interleave(
    variants: Mapping[str, Callable[[], Visit]], rounds: int, gate: Gate, title: str = "measure"
) -> dict[str, list[Visit]]:
    """Visit every variant once a round; return the visits of each, in the order of the rounds."""
    found: dict[str, list[Visit]] = {name: [] for name in variants}
    with progress.track(title, rounds * len(variants), "visits") as update:
        done = 0
        for _ in range(rounds):
            for name, visit in variants.items():
                while not gate.passes(seen := visit()):
                    time.sleep(_PAUSE_S)
                found[name].append(seen)
                done += 1
                update(done)
    return found


@dataclass(frozen=True)
class Command:
    """A command line, what its environment has besides, and the folder it runs in."""

    argv: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: Path = PROJECT

    @property
    def label(self) -> str:
        """The name of what runs, without the paths of this machine."""
        words = [word for word in self.argv[1:] if not word.startswith("-")]
        return Path(words[0]).name if words else Path(self.argv[0]).name


def python(*arguments: str | Path) -> list[str]:
    """Return the command line that runs this Python with `arguments`."""
    return [sys.executable, *map(str, arguments)]


def run(command: Command, memory_every_s: float = 0.0) -> Visit:
    """Run `command` to its end and return what it took.

    Figures: `wall_s`, `cpu_s`, `user_s`, `system_s` (all its processes, also those it left
    behind) and, where `memory_every_s` is not 0, `peak_bytes` of its processes together, sampled
    that often. Sampling takes time of its own: measure time without it. PipelineError where the
    command fails, with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(report), str(memory_every_s)]
        watch = Watch()
        done = subprocess.run(
            [*launcher, *command.argv],
            env={**environment(), **command.variables},
            cwd=command.folder,
            capture_output=True,
            check=False,
        )
        if done.returncode or not report.exists():
            raise PipelineError(
                f"{command.label} failed ({done.returncode}): {last_line(done.stderr)}",
                "see what it says of its input",
            )
        content = json.loads(report.read_text(encoding="utf-8"))
        others = watch.others(content["cpu_s"] + content["launcher_s"])
    names = ("wall_s", "cpu_s", "user_s", "system_s", "peak_bytes")
    return Visit({name: content[name] for name in names if content[name] is not None}, others)


def last_line(said: bytes) -> str:
    """Return the last line that a command said: its error, or that of its traceback."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][-400:] if lines else "it said nothing"


def environment() -> dict[str, str]:
    """Return this process's environment less what changes speed, with the project to import."""
    kept = {k: v for k, v in os.environ.items() if k not in _SHELL_VARIABLES}
    paths = filter(None, [str(PROJECT), kept.get("PYTHONPATH", "")])
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def memory_kind() -> str:
    """Return how `peak_bytes` is counted here: PSS where the kernel tells it, else RSS."""
    return "PSS" if os.access("/proc/self/smaps_rollup", os.R_OK) else "RSS"


def column(visits: Sequence[Visit], figure: str) -> list[float]:
    """Return one figure of each visit."""
    return [visit.figures[figure] for visit in visits]
