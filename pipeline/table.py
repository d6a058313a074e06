"""Tables on stdout: laid out for a terminal, and whole where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.errors import one_line


def show(
    headings: Sequence[str], rows: Iterable[Sequence[str]], left: str | Sequence[str] = ""
) -> None:
    """Print `rows` under `headings` to stdout, right-aligned but for the column or columns `left`.

    A column on the left is folded where the terminal is too narrow.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000  # nothing must be cut or folded to fit a terminal that is not there
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    lefts = [left] if isinstance(left, str) else left
    for heading in headings:
        is_left = heading in lefts
        table.add_column(heading, justify="left" if is_left else "right", no_wrap=not is_left)
    for row in rows:
        table.add_row(*map(one_line, row))
    console.print(table)
