"""A table of measurements: JSON first, Markdown derived from it.

A cell is a number, a text, a spread (median, min, max, rounds) or nothing. Units stand in the
columns. The file holds no path of the machine it was measured on.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.stats import Spread
from pipeline import atomic, machine
from pipeline.errors import PipelineError

SCHEMA = 1
RESULTS = Path(__file__).resolve().parent / "results"
QUICK = "-quick"

Cell = float | str | None | dict[str, Any]


@dataclass(frozen=True)
class Column:
    """`form` is a format specification for the numbers, `unit` follows them."""

    key: str
    title: str
    form: str = ".3g"
    unit: str = ""


@dataclass
class Part:
    """One table under a heading: rows by name, in order, and what is missing with the reason."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: dict[str, dict[str, Cell]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rounds: dict[str, Any] = field(default_factory=dict)

    def add(self, row: str, **cells: Spread | float | str | None) -> None:
        """Add cells to a row, which is made where it is new."""
        known = {column.key for column in self.columns}
        if unknown := set(cells) - known:
            raise KeyError(f"{self.key} has no column {sorted(unknown)}")
        made = self.rows.setdefault(row, {})
        for key, value in cells.items():
            made[key] = value.to_json() if isinstance(value, Spread) else value


class Table:
    """What one command measures; `save` writes it."""

    def __init__(self, name: str, title: str, *, quick: bool, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.title = title
        self.quick = quick
        self.settings = dict(settings)
        self.parts: list[Part] = []
        self.notes: list[str] = []
        self.versions: dict[str, str] = {}
        self._machine = machine.describe()
        self._started = time.time()

    def part(self, key: str, title: str, columns: Sequence[Column]) -> Part:
        """Add a part and return it."""
        made = Part(key, title, columns)
        self.parts.append(made)
        return made

    def note_versions(self, *packages: str) -> None:
        """Note the installed versions of `packages`."""
        self.versions |= versions(packages)

    def to_json(self) -> dict[str, Any]:
        """Return the whole table as it stands in its file."""
        return {
            "schema": SCHEMA,
            "table": self.name,
            "title": self.title,
            "command": command(self.name) + (" --quick" if self.quick else ""),
            "quick": self.quick,
            "measured_unix_s": round(self._started),
            "took_s": round(time.time() - self._started, 1),
            "machine": self._machine,
            "load_average_1min_after": round(machine.load_average(), 2),
            "versions": self.versions,
            "settings": self.settings,
            "parts": [asdict(part) for part in self.parts],
            "notes": self.notes,
        }

    def save(self, folder: Path) -> Path:
        """Write `<name>.json` and `<name>.md` into `folder`; return the path of the Markdown.

        A quick look gets names of its own, so that it never takes the place of a measurement.
        """
        content = self.to_json()
        folder.mkdir(parents=True, exist_ok=True)
        stem = self.name + (QUICK if self.quick else "")
        # A cell that is not a number would be no JSON.
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        atomic.write_text(folder / f"{stem}.json", text)
        atomic.write_text(folder / f"{stem}.md", to_markdown(content))
        return folder / f"{stem}.md"


def command(name: str) -> str:
    """Return the command that makes the table of that name."""
    return f"python3 -m benchmarks.{name}"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each of `packages`, or `missing`."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def load(path: Path) -> dict[str, Any]:
    """Return the content of a table's JSON file; PipelineError where it is none."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise PipelineError(f"{path} holds no table of this version", "measure it again")
    return content


def to_markdown(content: Mapping[str, Any], level: int = 1) -> str:
    """Return a table's content as Markdown, its headings from `level` on."""
    lines = [f"{'#' * level} {content['title']}", ""]
    if content["quick"]:
        lines += ["**A quick look: too short to be quoted.**", ""]
    for part in content["parts"]:
        lines += _part(part, level + 1)
    lines += [f"- {note}" for note in content["notes"]]
    lines += [
        f"- {_where(content)}",
        f"- Made by `{content['command']}`, {_how_long(content)}.",
        "",
    ]
    return "\n".join(lines)


def _part(part: Mapping[str, Any], level: int) -> list[str]:
    columns = [column for column in part["columns"] if _is_used(column, part["rows"])]
    lines = [f"{'#' * level} {part['title']}", ""]
    lines.append("| | " + " | ".join(column["title"] for column in columns) + " |")
    lines.append("|---|" + "---:|" * len(columns))
    for name, cells in part["rows"].items():
        words = [_cell(cells.get(column["key"]), column) for column in columns]
        lines.append(f"| {name} | " + " | ".join(words) + " |")
    lines.append("")
    if part["missing"]:
        lines += [f"- Missing: {name}: {reason}." for name, reason in part["missing"].items()]
    lines += [f"- {note}" for note in part["notes"]]
    if part["missing"] or part["notes"]:
        lines.append("")
    return lines


def _is_used(column: Mapping[str, str], rows: Mapping[str, Any]) -> bool:
    return any(cells.get(column["key"]) is not None for cells in rows.values())


def _cell(value: Cell, column: Mapping[str, str]) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return number(value, column)
    text = number(value["median"], column)
    if value["rounds"] == 1:
        return text
    least, greatest = (format(value[key], column["form"]) for key in ("min", "max"))
    return f"{text} ({least}-{greatest})"


def number(value: float, column: Mapping[str, str]) -> str:
    """Return a number as its column shows it."""
    return format(value, column["form"]) + column["unit"]


def _where(content: Mapping[str, Any]) -> str:
    place = content["machine"]
    load = place["load_average_1min"]
    packages = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    return (
        f"{place['processor']} ({place['architecture']}), {place['usable_cores']} cores,"
        f" {place['system']}; load {'unknown' if math.isnan(load) else load} before;"
        f" {packages}."
    )


def _how_long(content: Mapping[str, Any]) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime(content["measured_unix_s"]))
    return f"{day}, in {content['took_s'] / 60:.1f} min"
