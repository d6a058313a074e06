"""A comparison as tables of text, for the screen and for Markdown alike."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline import table
from pipeline.compare import score_tables, speed
from pipeline.compare.gate import Comparison
from pipeline.compare.section import MISSING, Section, batch, without
from pipeline.compare.settings import Differences
from pipeline.compare.sides import Side
from pipeline.compare.speed import Speeds
from pipeline.errors import one_line
from pipeline.work_dir import Run

_MOST_NAMED = 8  # settings in one line


@dataclass(frozen=True)
class Compared:
    """All that was compared; `names` are those of classes."""

    sides: tuple[Side, ...]
    settings: Differences
    comparisons: tuple[Comparison, ...]
    names: Mapping[int, str]


def sections(found: Compared, flips: int) -> list[Section]:
    """Return the tables in their order, with up to `flips` images of each kind of flip."""
    pairs = found.comparisons
    return [
        _sides(found.sides),
        _settings(found),
        *score_tables.accuracy(pairs),
        _speeds(pairs),
        *(part for one in pairs for part in score_tables.flips(one, found.names, flips)),
    ]


def show(parts: Sequence[Section]) -> None:
    """Print the tables to stdout."""
    for part in parts:
        _print(part.title)
        if part.rows:
            table.show(part.headings, part.rows, part.left)
        _print(*part.notes, "")


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))
    sys.stdout.flush()


def _sides(sides: Sequence[Side]) -> Section:
    rows = []
    for side in sides:
        sizes = ", ".join(str(run.batch_size or "unknown") for run in side.runs)
        rows.append((side.letter, str(side.given), sizes))
    doubts = [f"{side.letter}: {doubt}" for side in sides for doubt in side.work.doubts]
    headings = ("", "run", "batch size")
    return Section("compared, A being the base", headings, tuple(rows), headings, tuple(doubts))


def _settings(found: Compared) -> Section:
    differences = found.settings
    headings = ("setting", *(side.letter for side in found.sides))
    notes = [f"the same: {differences.same}"]
    if not differences.differing:
        notes.insert(0, "nothing, as far as the records tell")
    if differences.unknown:
        names = [setting.name for setting in differences.unknown]
        more = len(names) - _MOST_NAMED
        rest = f" and {more} more" if more > 0 else ""
        notes.append(f"not known of all: {', '.join(names[:_MOST_NAMED])}{rest}")
    rows = tuple((setting.name, *setting.texts) for setting in differences.differing)
    return Section("settings that differ", headings, rows, headings, tuple(notes))


def _speeds(comparisons: Sequence[Comparison]) -> Section:
    headings = ("batch", "", "images/s", "ratio", "end to end", "ratio", "p50 ms", "p90 ms", "MiB")
    rows: list[tuple[str, ...]] = []
    hints: dict[tuple[str, str], list[str]] = {}
    for one in comparisons:
        for found in one.speeds:
            rows += [row for row in _speed(found, one) if row not in rows]  # the base's once
            if found.doubts:
                where = batch(found.pair.other.batch_size)
                hints.setdefault((one.other.letter, "; ".join(found.doubts)), []).append(where)
    rows.sort(key=lambda row: (int(row[0]) if row[0].isdigit() else 0, row[1]))
    notes = [
        f"{letter}, batch {', '.join(sizes)}: the ratio is a hint only: {why}"
        for (letter, why), sizes in hints.items()
    ]
    if rows:
        notes.insert(
            0,
            "images/s: of one chip in the model alone; p50, p90: bounds of a call's latency, where "
            "there are calls enough; MiB: the most memory of a process",
        )
    notes += [without(one, "speed") for one in comparisons if not one.speeds]
    return Section("speed", (*headings, "verdict"), tuple(rows), notes=tuple(notes))


def _speed(found: Speeds, one: Comparison) -> Iterator[tuple[str, ...]]:
    for side, run, own in (
        (one.base, found.pair.base, found.base),
        (one.other, found.pair.other, found.other),
    ):
        is_base = side is one.base
        memory = speed.peak_memory_bytes(run)
        yield (
            *(batch(run.batch_size), side.letter, f"{own.chip_rate:.2f}"),
            "" if is_base else _ratio(found.ratio),
            MISSING if own.e2e_rate is None else f"{own.e2e_rate:.2f}",
            "" if is_base else _ratio(found.e2e_ratio),
            *(_milliseconds(run, percentile) for percentile in ("p50", "p90")),
            MISSING if memory is None else f"{memory / (1 << 20):.0f}",
            own.verdict,
        )


def _ratio(value: Fraction | None) -> str:
    return MISSING if value is None else f"{float(value):.3f}x"


def _milliseconds(run: Run, percentile: str) -> str:
    bound = speed.latency_ms(run, percentile)
    return MISSING if bound is None else f"{bound:.4g}"
