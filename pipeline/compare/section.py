"""What the tables of a comparison are made of."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.compare.gate import Comparison

MISSING = "-"


@dataclass(frozen=True)
class Section:
    """A titled table; `left` are its columns of words, `notes` the lines below it."""

    title: str
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def names(one: Comparison) -> str:
    """Say which two sides are compared."""
    return f"{one.other.letter} beside {one.base.letter}"


def batch(size: int | None) -> str:
    """Return a batch size as tables have it."""
    return MISSING if size is None else str(size)


def without(one: Comparison, what: str) -> str:
    """Say which sides have no `score`, or no `speed`, so that there is nothing to compare."""
    lacking = [
        side.letter
        for side in (one.base, one.other)
        if not any(getattr(run, what) for run in side.runs)
    ]
    which = f"of {' and '.join(lacking)}" if lacking else "of one batch size in both"
    return f"{names(one)}: no {what} {which}"
