"""Is it still good enough? What was compared, held against the limits that the user gave.

Top1 is held against --max-drop at each batch size that both were scored at: the change on the
images in common, and where there are no dumps to match, that of the scores alone if they are of as
many images. The Interface rate is held against
--max-slowdown at each batch size of the base. A limit that cannot be judged fails. A speed that may
not be quoted, or is of another machine, is judged, and the ruling says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.compare.accuracy import Accuracy
from pipeline.compare.sides import Side
from pipeline.compare.speed import Speeds
from pipeline.formats import result


@dataclass(frozen=True)
class Limits:
    """In points of Top1, and in percent of the Interface rate; None where there is none."""

    max_drop: float | None = None
    max_slowdown: float | None = None


@dataclass(frozen=True)
class Ruling:
    """What a limit came to for one pair of runs, `text`; by how much it was passed, `beyond`."""

    option: str
    good: bool
    text: str
    beyond: float | None  # in the limit's unit; None where it cannot be judged


@dataclass(frozen=True)
class Comparison:
    """One side beside the base."""

    base: Side
    other: Side
    accuracies: tuple[Accuracy, ...]
    speeds: tuple[Speeds, ...]


def rule(found: Sequence[Comparison], limits: Limits) -> list[Ruling]:
    """Return a ruling for each limit and each pair of runs that it is about."""
    rulings: list[Ruling] = []
    for one in found:
        if limits.max_drop is not None:
            rulings += _drops(one, limits.max_drop)
        if limits.max_slowdown is not None:
            rulings += _slowdowns(one, limits.max_slowdown)
    return rulings


def say(rulings: Sequence[Ruling]) -> str:
    """Return what the verdict line says of the limits: the worst of each that failed, or all."""
    failed = [ruling for ruling in rulings if not ruling.good]
    worst: dict[str, Ruling] = {}
    for ruling in failed or rulings:
        there = worst.get(ruling.option)
        if there is None or _severity(ruling) > _severity(there):
            worst[ruling.option] = ruling
    said = "; ".join(ruling.text for ruling in worst.values())
    more = len(failed) - len(worst) if failed else 0
    return f"{said}; {more} more failed" if more else said


def _severity(ruling: Ruling) -> float:
    return float("inf") if ruling.beyond is None else ruling.beyond


def _drops(one: Comparison, most: float) -> Iterator[Ruling]:
    option, name = "--max-drop", one.other.letter
    if not one.accuracies:
        why = _lacking("score", one)
        yield Ruling(option, False, f"Top1 of {name} cannot be judged: {why}", None)
    for found in one.accuracies:
        where = _where(found.pair.batch_sizes)
        points, how = found.rough_points, "by the scores alone"
        if found.matched:
            change = found.matched.changes[0]
            low, high = change.interval
            left = sum(found.matched.left_out)
            points = change.points
            how = f"95 % {low:+.2f} to {high:+.2f}"
            if len(found.matched.changes) == result.MOST_TOP_ENTRIES:
                how += f", Top5 {found.matched.changes[-1].points:+.2f}"
            how += f", on {change.images} images"
            how += f" in common, {left} left out" if left else ""
        if points is None:
            why = f"{found.why}, and the scores are of other images or labels"
            yield Ruling(option, False, f"Top1 of {name}{where} cannot be judged: {why}", None)
            continue
        text = f"Top1 of {name}{where} {_fell(-points)} ({how}), {most:g} allowed"
        yield Ruling(option, -points <= most, text, -points - most)


def _slowdowns(one: Comparison, most: float) -> Iterator[Ruling]:
    option, name = "--max-slowdown", one.other.letter
    judged = {found.pair.base.batch_size for found in one.speeds}
    for found in one.speeds:
        where = _where(found.pair.batch_sizes)
        slower = found.slowdown_percent
        if slower is None:
            text = f"the Interface rate of {name}{where} cannot be judged: the base's is 0"
            yield Ruling(option, False, text, None)
            continue
        limit = Fraction(repr(most))
        hint = f" (a hint only: {'; '.join(found.doubts)})" if found.doubts else ""
        change = "falls by" if slower > 0 else "rises by"
        text = f"the Interface rate of {name}{where} {change} {abs(float(slower)):.4g} %"
        text += f", {most:g} allowed{hint}"
        yield Ruling(option, slower <= limit, text, float(slower - limit))
    missing = [run.batch_size for run in one.base.runs if run.speed]
    for size in missing:
        if size not in judged:
            why = f"{one.other.given} has none at that batch size; choose one with --batch-size"
            text = f"the Interface rate of {name}{_where((size, size))} cannot be judged: {why}"
            yield Ruling(option, False, text, None)
    if not missing:
        why = _lacking("speed", one)
        yield Ruling(option, False, f"the speed of {name} cannot be judged: {why}", None)


def _lacking(what: str, one: Comparison) -> str:
    sides_without = [
        side for side in (one.base, one.other) if not any(getattr(run, what) for run in side.runs)
    ]
    return f"{' and '.join(str(side.given) for side in sides_without)} has no {what}"


def _where(batch_sizes: tuple[int | None, int | None]) -> str:
    first, second = (size or "unknown" for size in batch_sizes)
    if first == second == "unknown":
        return ""
    return f" at batch {first}" if first == second else f" at batch {second}, not {first},"


def _fell(points: float) -> str:
    if not points:
        return "is the same"
    return f"falls by {points:.4g} points" if points > 0 else f"rises by {-points:.4g} points"
