"""What the front doors of the benchmarks have in common: their options and their verdict."""

from __future__ import annotations

from pathlib import Path

from benchmarks.table import RESULTS, Table, command
from cli import door


def parser(name: str, description: str, example: str = "--quick") -> door.Parser:
    """Return the parser of the benchmark `name` with the options that all of them have."""
    made = door.Parser(description, f"{command(name)} {example}")
    made.prog = command(name)
    made.add_argument(
        "--quick", action="store_true", help="a short look: little work, one round, no gate"
    )
    made.add_argument(
        "--rounds",
        type=door.whole_number(1),
        metavar="N",
        help="rounds that are measured (default: those of the published table)",
    )
    made.add_argument(
        "--out",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help=f"where {name}.json and {name}.md go; a quick look writes {name}-quick.*",
    )
    made.add_argument(
        "--work-dir",
        type=Path,
        metavar="FOLDER",
        help="where inputs and outputs go, removed at the end"
        " (default: memory where there is room, else the folder for temporary files)",
    )
    return made


def verdict(table: Table, out: Path) -> door.Verdict:
    """Save `table`, print it and return the last line."""
    path = table.save(out)
    print(path.read_text(encoding="utf-8"))
    content = table.to_json()
    rows = sum(len(part.rows) for part in table.parts)
    missing = sum(len(part.missing) for part in table.parts)
    absent = f", {missing} missing" if missing else ""
    return door.Verdict(f"{rows} rows{absent} in {content['took_s']:.0f} s -> {path}")
