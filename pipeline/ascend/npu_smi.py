"""What `npu-smi info` says: which chips are there, as which devices, and who uses them.

Source of the layout: the tables that the guides of the Ascend ModelZoo show. A chip has two rows,
`NPU Name | Health | ...` and `Chip Device | Bus-Id | ...`; all four chips of a 310 card share one
NPU id, so chips are counted by their second rows. Below follows a table of processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FIRST = re.compile(r"(\d+)\s+(\S+)")
_SECOND = re.compile(r"(\d+)(?:\s+(\d+))?\b.*")
CHIPS_PER_310_CARD = 4


@dataclass(frozen=True)
class Chip:
    """One chip: the `device` that tools address it by, npu-smi's name of it, and its health."""

    device: int
    name: str
    health: str


@dataclass(frozen=True)
class Card:
    """All chips that npu-smi lists, and the processes that use them, as it words them."""

    chips: tuple[Chip, ...]
    processes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The chips' different names, in the order of the table."""
        return tuple(dict.fromkeys(chip.name for chip in self.chips))


def read(text: str) -> Card:
    """Return what a table of `npu-smi info` lists; no chips where the text is no such table."""
    chips: list[Chip] = []
    processes: list[str] = []
    first: tuple[str, str] | None = None
    in_processes = False
    for cells in _rows(text):
        if any(cell.startswith("Process") for cell in cells):
            in_processes = True
        elif in_processes:
            if re.fullmatch(r"\d+(\s+\d+)?", cells[0]):
                processes.append(" ".join(cells))
        elif first is None:
            if match := _FIRST.fullmatch(cells[0]):
                first = (match[2], cells[1] if len(cells) > 1 else "")
        elif match := _SECOND.fullmatch(cells[0]):
            # assumed: where the second row names no device (a 910), they count in the table's order
            device = int(match[2]) if match[2] else len(chips)
            chips.append(Chip(device, *first))
            first = None
    return Card(tuple(chips), tuple(processes))


def soc_version(name: str) -> str:
    """Return the `--soc_version` of a chip that npu-smi calls `name`, as the ATC guide has it."""
    return name if name.startswith("Ascend") else f"Ascend{name}"


def chips_per_card(soc: str) -> int:
    """Return how many chips a card has: four for an Ascend310, else one."""
    return CHIPS_PER_310_CARD if soc == "Ascend310" else 1


def _rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if cells and cells[0]:
                yield cells
