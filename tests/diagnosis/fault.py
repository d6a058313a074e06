"""What a planted fault is, and how the diagnosis is asked about it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli import diagnose_command
from tests.diagnosis.ground import Ground

Plant = Callable[[Ground], Sequence[object]]


@dataclass(frozen=True)
class Fault:
    """A fault: what was planted, the step that has to find it, words that the verdict must have.

    `plant` makes the files and returns the options that name them. Without a step nothing is wrong,
    and the diagnosis must say so.
    """

    name: str
    step: str
    words: tuple[str, ...]
    plant: Plant

    @property
    def control(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.step


@dataclass(frozen=True)
class Said:
    """What the diagnosis said: its exit code, the first step that parts, its last line."""

    code: int
    step: str
    line: str

    def names(self, fault: Fault) -> bool:
        """Say whether that is what was planted, and nothing else before it."""
        if fault.control:
            return self.code == 0
        found = self.code == 1 and self.step == fault.step
        return found and all(word in self.line for word in fault.words)


def ask(ground: Ground, fault: Fault) -> Said:
    """Plant a fault and diagnose it, by the command line."""
    words = ["--images", ground.images, *fault.plant(ground), "--quiet"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = diagnose_command.main(list(map(str, words)))
    lines = out.getvalue().splitlines()
    parted = [
        line for line in lines if any(f" {word} " in line for word in ("explained", "differs"))
    ]
    step = _step(parted[0]) if parted and parted[0] is not lines[-1] else ""
    return Said(code, step, lines[-1] if lines else "")


def _step(line: str) -> str:
    return line.split("  explained")[0].split("    differs")[0].split("  differs")[0].strip()


def folder_of(path: Path) -> Path:
    """Make a folder, and return it."""
    path.mkdir()
    return path
