"""What was tried and what became of it: the table at the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

KINDS = ("lost", "wrong", "hung")
MOST_LINES = 6  # shown of one fault


@dataclass(frozen=True)
class Problem:
    """`kind` is one of `KINDS`; `text` says what is not as it should be, and where."""

    kind: str
    text: str


@dataclass
class Row:
    """One fault: how often it was tried, and in how many tries something was not right."""

    tried: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    lines: dict[str, str] = field(default_factory=dict)  # what the user saw, by stage
    not_tried: str = ""


class Tally:
    """Counts by fault, and everything that went wrong in words."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.problems: list[str] = []
        self.kills: Counter[str] = Counter()  # by stage
        self.survived: Counter[str] = Counter()
        self.ctrl_c: list[tuple[float, str]] = []  # seconds until the end, with the stage

    @property
    def good(self) -> bool:
        """Whether nothing was lost, wrong or hung, and something was tried."""
        tried = sum(row.tried for row in self.rows.values())
        return tried > 0 and not any(row.bad.total() for row in self.rows.values())

    def count(self, fault: str, where: str, problems: Iterable[Problem]) -> bool:
        """Count one try of `fault`; say whether it ended well."""
        row = self.rows.setdefault(fault, Row())
        row.tried += 1
        found = list(problems)
        # One try counts once in each column, however many files it cost.
        row.bad.update({problem.kind for problem in found})
        for problem in found:
            self.problems.append(f"{problem.kind}: {fault}, {where}: {problem.text}")
        return not found

    def count_many(
        self, fault: str, where: str, tried: int, bad: Counter[str], problems: Iterable[Problem]
    ) -> None:
        """Count tries that were made at once."""
        row = self.rows.setdefault(fault, Row())
        row.tried += tried
        row.bad.update(bad)
        self.problems += [f"{each.kind}: {fault}, {where}: {each.text}" for each in problems]

    def saw(self, fault: str, stage: str, line: str) -> None:
        """Keep the line that a user saw, one of each wording."""
        row = self.rows.setdefault(fault, Row())
        wordings = {_wording(known) for known in row.lines.values()}
        if line and _wording(line) not in wordings and len(row.lines) < MOST_LINES:
            row.lines[f"{stage} {len(row.lines)}"] = line

    def leave_out(self, fault: str, why: str) -> None:
        """Note that `fault` cannot be tried here."""
        self.rows.setdefault(fault, Row()).not_tried = why

    def table(self) -> list[str]:
        """Return the table, the lines seen, and everything that went wrong."""
        cells: list[Sequence[str]] = [("fault", "tried", *KINDS)]
        for name, row in self.rows.items():
            counts = [str(row.bad[kind]) for kind in KINDS] if row.tried else ["-"] * len(KINDS)
            cells.append((name, str(row.tried), *counts))
        text = _aligned(cells)
        if self.kills:
            text += ["", *self._kills()]
        if self.ctrl_c:
            seconds, stage = max(self.ctrl_c)
            text += [
                "",
                f"Ctrl-C: {len(self.ctrl_c)} tried, the slowest took {seconds:.2f} s ({stage})",
            ]
        text += self._lines()
        for name, row in self.rows.items():
            if row.not_tried:
                text.append(f"not tried: {name}: {row.not_tried}")
        return text + (["", *self.problems] if self.problems else [])

    def _kills(self) -> list[str]:
        by_stage = ", ".join(
            f"{stage} {self.survived[stage]} of {count}" for stage, count in self.kills.items()
        )
        identical = f"{self.survived.total()} of {self.kills.total()}"
        return [f"killed and run again: {identical} identical to the undisturbed run ({by_stage})"]

    def _lines(self) -> list[str]:
        text: list[str] = []
        for name, row in self.rows.items():
            if row.lines:
                text += ["", f"what the user saw: {name}"]
                text += [f"  {line}" for line in row.lines.values()]
        return text


def _wording(line: str) -> str:
    """Return `line` without what differs from try to try."""
    return re.sub(r"\S*[/\d_]\S*", "*", line)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        numbers = "".join(
            f"  {cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)
        )
        lines.append(f"{first:<{widths[0]}}{numbers}")
    return lines
