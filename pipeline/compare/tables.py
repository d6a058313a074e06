"""A comparison as tables of text, for the screen and for Markdown alike."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline import class_names, table
from pipeline.compare import speed
from pipeline.compare.accuracy import KINDS, Accuracy, Flip, Matched
from pipeline.compare.gate import Comparison
from pipeline.compare.settings import Differences
from pipeline.compare.sides import Side
from pipeline.compare.speed import Speeds
from pipeline.errors import one_line
from pipeline.work_dir import Run

MISSING = "-"
_MOST_TOPS = 5


@dataclass(frozen=True)
class Section:
    """A titled table; `left` are its columns of words, `notes` the lines below it."""

    title: str
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """All that was compared; `names` are those of classes."""

    sides: tuple[Side, ...]
    settings: Differences
    comparisons: tuple[Comparison, ...]
    names: Mapping[int, str]


def sections(found: Compared, flips: int) -> list[Section]:
    """Return the tables in their order, with up to `flips` images of each kind of flip."""
    return [
        _sides(found.sides),
        _settings(found),
        _accuracies(found.comparisons),
        _speeds(found.comparisons),
        *(part for one in found.comparisons for part in _flips(one, found.names, flips)),
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
    letters = tuple(side.letter for side in found.sides)
    notes = []
    if not differences.differing:
        notes.append("nothing, as far as the records tell")
    notes.append(f"the same: {differences.same}")
    if differences.unknown:
        names = [setting.name for setting in differences.unknown]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        notes.append(f"not known of all: {', '.join(names[:8])}{more}")
    return Section(
        "settings that differ",
        ("setting", *letters),
        tuple((setting.name, *setting.texts) for setting in differences.differing),
        ("setting", *letters),
        tuple(notes),
    )


def _accuracies(comparisons: Sequence[Comparison]) -> Section:
    tops = [f"Top{n + 1}" for n in range(_MOST_TOPS)]
    headings = ("batch", "", "images", *tops, "Top1 change", "95 % interval", "won", "lost")
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    pairs = [(found, one) for one in comparisons for found in one.accuracies]
    for found, one in sorted(pairs, key=lambda pair: pair[0].pair.base.batch_size or 0):
        rows += [row for row in _accuracy(found, one) if row not in rows]  # the base's once
        notes += _accuracy_notes(found, one)
    for one in comparisons:
        if not one.accuracies:
            without = _without(one, "score")
            notes.append(f"{one.other.letter} beside {one.base.letter}: no score of {without}")
    return Section(
        "accuracy",
        (*headings, "same answers", "SQNR dB"),
        tuple(rows),
        notes=tuple(dict.fromkeys(notes)),
    )


def _accuracy(found: Accuracy, one: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield the rows of base and other, of the images in common where they are matched."""
    empty = (MISSING,) * 6
    sizes = [_batch(size) for size in found.pair.batch_sizes]
    if found.matched is None:
        for size, side, score in zip(
            sizes, (one.base, one.other), (found.base, found.other), strict=True
        ):
            tops = [f"{share:.2f} %" for share in score.found.percentages]
            points = found.rough_points if side is one.other else None
            change = (MISSING if points is None else f"{points:+.2f}", *empty[1:])
            images = str(score.found.images)
            yield size, side.letter, images, *_padded(tops), *change
        return
    matched = found.matched
    images, first = str(matched.images), matched.changes[0]
    tops = [_percent(change.base_hits, matched.images) for change in matched.changes]
    yield sizes[0], one.base.letter, images, *_padded(tops), *empty
    tops = [_percent(change.other_hits, matched.images) for change in matched.changes]
    low, high = first.interval
    yield (
        *(sizes[1], one.other.letter, images, *_padded(tops), f"{first.points:+.2f}"),
        *(f"{low:+.2f} to {high:+.2f}", str(first.won), str(first.lost)),
        _percent(matched.same, matched.images),
        _decibels(matched.sqnr_db),
    )


def _accuracy_notes(found: Accuracy, one: Comparison) -> Iterator[str]:
    names = f"{one.other.letter} beside {one.base.letter}"
    sizes = found.pair.batch_sizes
    if sizes[0] != sizes[1]:
        yield f"{names}: scores of batch {_batch(sizes[1])} and {_batch(sizes[0])}"
    if found.matched is None:
        yield f"{names}: not compared image by image, for {found.why}"
        return
    matched = found.matched
    for side, count in zip((one.base, one.other), matched.left_out, strict=True):
        if count:
            yield f"{names}: {count} images of {side.letter} are left out, the other lacks them"
    if matched.relabelled:
        yield (
            f"{names}: {matched.relabelled} images have other labels; each side is held against "
            "its own"
        )
    if matched.without_sqnr:
        yield f"{names}: no SQNR, for {matched.without_sqnr}"


def _speeds(comparisons: Sequence[Comparison]) -> Section:
    headings = ("batch", "", "images/s", "ratio", "end to end", "ratio", "p50 ms", "p90 ms")
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    hints: dict[tuple[str, str], list[str]] = {}
    for one in comparisons:
        for found in one.speeds:
            rows += [row for row in _speed(found, one) if row not in rows]
            if found.doubts:
                where = _batch(found.pair.other.batch_size)
                hints.setdefault((one.other.letter, "; ".join(found.doubts)), []).append(where)
        if not one.speeds:
            without = _without(one, "speed")
            notes.append(f"{one.other.letter} beside {one.base.letter}: no speed of {without}")
    meaning = (
        "images/s: of one chip in the model alone; p50, p90: bounds of a call's latency, where "
        "there are calls enough"
    )
    said = [
        f"{letter}, batch {', '.join(sizes)}: the ratio is a hint only: {why}"
        for (letter, why), sizes in hints.items()
    ]
    order = sorted(rows, key=lambda row: (int(row[0]) if row[0].isdigit() else 0, row[1]))
    return Section(
        "speed",
        (*headings, "memory MiB", "verdict"),
        tuple(order),
        notes=(*([meaning] if rows else []), *said, *notes),
    )


def _speed(found: Speeds, one: Comparison) -> Iterator[tuple[str, ...]]:
    for side, run, own in (
        (one.base, found.pair.base, found.base),
        (one.other, found.pair.other, found.other),
    ):
        is_base = side is one.base
        memory = speed.peak_memory_bytes(run)
        yield (
            *(_batch(run.batch_size), side.letter, f"{own.chip_rate:.2f}"),
            "" if is_base else _ratio(found.ratio),
            MISSING if own.e2e_rate is None else f"{own.e2e_rate:.2f}",
            "" if is_base else _ratio(found.e2e_ratio),
            *(_milliseconds(run, percentile) for percentile in ("p50", "p90")),
            MISSING if memory is None else f"{memory / (1 << 20):.0f}",
            own.verdict,
        )


def _flips(one: Comparison, names: Mapping[int, str], most: int) -> Iterator[Section]:
    """Yield the flips of each pair of runs, but once where they are the same ones."""
    shown: dict[tuple[tuple[str, int, int], ...], list[Accuracy]] = {}
    for found in one.accuracies:
        if found.matched:
            key = tuple((f.image, f.base_answer, f.other_answer) for f in found.matched.flips)
            shown.setdefault(key, []).append(found)
    base, other = one.base.letter, one.other.letter
    headings = ("flip", "image", "class", f"{base} says", f"of {base}", f"{other} says")
    for same in shown.values():
        matched = same[0].matched
        assert matched is not None
        sizes = ", ".join(_batch(found.pair.batch_sizes[1]) for found in same)
        rows = [_flip(flip, names) for flip in _chosen(matched, most)]
        left = len(matched.flips) - len(rows)
        yield Section(
            f"answers of {other} that are not {base}'s, batch {sizes}: {count(matched)}",
            (*headings, f"of {other}"),
            tuple(rows),
            ("flip", "image", "class", f"{base} says", f"{other} says"),
            (f"{left} more, in --out FILE.json",) if left else (),
        )


def count(matched: Matched) -> str:
    """Say how many answers flipped, by kind."""
    kinds = ", ".join(f"{matched.count(kind)} {kind}" for kind in KINDS)
    return f"{len(matched.flips)} of {matched.images} ({kinds})" if matched.flips else "none"


def _chosen(matched: Matched, most: int) -> Iterator[Flip]:
    for kind in KINDS:
        yield from [flip for flip in matched.flips if flip.kind == kind][:most]


def _flip(flip: Flip, names: Mapping[int, str]) -> tuple[str, ...]:
    label, was, now = (
        class_names.name_of(number, names)
        for number in (flip.label, flip.base_answer, flip.other_answer)
    )
    shares = f"{100 * flip.base_share:.1f} %", f"{100 * flip.other_share:.1f} %"
    return flip.kind, flip.image, label, was, shares[0], now, shares[1]


def _without(one: Comparison, what: str) -> str:
    lacking = [
        side.letter
        for side in (one.base, one.other)
        if not any(getattr(run, what) for run in side.runs)
    ]
    return " and ".join(lacking) or "one batch size in both"


def _padded(tops: Sequence[str]) -> tuple[str, ...]:
    return (*tops, *[MISSING] * (_MOST_TOPS - len(tops)))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %"


def _batch(size: int | None) -> str:
    return MISSING if size is None else str(size)


def _ratio(value: Fraction | None) -> str:
    return MISSING if value is None else f"{float(value):.3f}x"


def _decibels(value: float | None) -> str:
    if value is None:
        return MISSING
    return "identical" if value == math.inf else f"{value:.1f}"


def _milliseconds(run: Run, percentile: str) -> str:
    bound = speed.latency_ms(run, percentile)
    return MISSING if bound is None else f"{bound:.4g}"
