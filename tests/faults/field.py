"""What every fault needs: the ground, a draw of its own for each try, and the tally."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.child import Ended
from tests.faults.ground import Ground, Stage, is_complete, ledger_items, marks
from tests.faults.stages import QUICK
from tests.faults.tally import Problem, Tally

_LIBRARY = re.compile(r"^(OpenBLAS|Critical nanobind) error: .*(memory|malloc)", re.IGNORECASE)


@dataclass
class Field:
    """One try: `draw` gives the same in each run with the same seed."""

    ground: Ground
    tally: Tally
    stages: Sequence[Stage]
    number: int
    draw: Random
    mutations: int = 0

    def stage(self, *names: str) -> Stage:
        """Return the stage whose turn it is, of those named or of all that leave a result."""
        wanted = [s for s in QUICK if (s.name in names if names else s.outputs)]
        fit = [s for s in wanted if s in self.stages] or wanted
        return fit[self.number % len(fit)]

    def drawn_stage(self) -> Stage:
        """Return any stage, the weighty ones more often."""
        return self.draw.choices(self.stages, [stage.weight for stage in self.stages])[0]

    def finish(self, fault: str, stage: Stage, folder: Path, problems: Sequence[Problem]) -> bool:
        """Count the try; its folder is kept where something was not right."""
        where = f"try {self.number}, {stage.name}, {folder}"
        good = self.tally.count(fault, where, problems)
        if good:
            shutil.rmtree(folder, ignore_errors=True)
        return good

    def again(self, stage: Stage, folder: Path) -> list[Problem]:
        """Run the same command without a fault; return what is not as in an undisturbed run.

        An item that the ledger has must not be made anew, but for the last one: a run that had
        nothing left to do would have no figures. A run that was complete was not cut short: the
        benchmark then measures anew.
        """
        items, before = ledger_items(folder, stage), marks(folder, stage)
        if is_complete(stage, folder) or any(".npy" in name for name in before):
            items = []  # an array is one file, which stays or changes with each of its rows
        ended = self.ground.run(stage, folder)
        problems = self.ground.check(stage, folder, ended)
        after = marks(folder, stage)
        kept = sum(after.get(name) == mark for name, mark in before.items())
        if kept < min(len(items), len(before)) - 1:
            text = f"{len(items)} items were done, and only {kept} files were kept"
            problems.append(Problem("lost", text))
        return problems

    def failed_well(
        self, fault: str, stage: Stage, folder: Path, ended: Ended, killed: bool = False
    ) -> list[Problem]:
        """Return what is not right about a run that may fail, and keep the line it said.

        It has the right result, or one clear line and an exit code that is not 0. With `killed`
        the kernel may have ended it, which leaves it no time to say anything, or a library that
        finds no memory, which says so itself.
        """
        if ended.hung:
            return [Problem("hung", f"had to be killed: {ended.last_line()}")]
        if ended.code == 0:
            return self.ground.check(stage, folder, ended)
        if killed and (ended.code in (-9, 137) or _LIBRARY.search(ended.last_line())):
            return []
        lines = error_lines(ended.err)
        refused = [line for line in ended.err.splitlines() if line.startswith("refused: ")]
        self.tally.saw(fault, stage.name, (lines or refused or [""])[-1])
        if "Traceback" in ended.err:
            return [Problem("wrong", f"a traceback: {ended.last_line()}")]
        if len(lines) != 1 and not (refused and not lines):
            return [Problem("wrong", f"{len(lines)} lines of error: {ended.last_line()}")]
        if lines and "unexpected " in lines[0]:
            return [Problem("wrong", f"no clear line: {lines[0]}")]
        return []


def error_lines(text: str) -> list[str]:
    """Return the lines that say what went wrong."""
    return [line for line in text.splitlines() if ": error: " in line]
