"""Tables on stdout: laid out for a terminal, and whole where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline.errors import one_line

if TYPE_CHECKING:
    from rich.table import Table

_WHOLE = 1000  # columns, which no table needs


def show(
    headings: Sequence[str], rows: Iterable[Sequence[str]], left: str | Sequence[str] = ""
) -> None:
    """Print `rows` under `headings` to stdout, right-aligned but for the column or columns `left`.

    Where the terminal is too narrow, headings are stacked, and a column on the left is folded.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WHOLE  # nothing must be cut or folded to fit a terminal that is not there
    lefts = [left] if isinstance(left, str) else left
    cells = [[one_line(cell) for cell in row] for row in rows]
    table = _table(headings, cells, lefts, gap=2)
    unbounded = console.options.update(max_width=_WHOLE)
    if console.measure(table, options=unbounded).maximum > console.width:
        table = _table(headings, cells, lefts, gap=1, stacked=True)
    console.print(table)


def _table(
    headings: Sequence[str],
    cells: Iterable[Sequence[str]],
    lefts: Sequence[str],
    gap: int,
    stacked: bool = False,
) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for heading in headings:
        is_left = heading in lefts
        shown = heading.replace(" ", "\n") if stacked else heading
        if is_left:
            table.add_column(shown, overflow="fold")
        else:
            table.add_column(shown, justify="right", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    return table
