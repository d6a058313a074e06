"""The tables of accuracy: TopN of each run, its changes, and the answers that flipped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from pipeline import class_names
from pipeline.compare.accuracy import BOTH, KINDS, Accuracy, Change, Flip, Matched
from pipeline.compare.gate import Comparison
from pipeline.compare.section import MISSING, Section, batch, names, without
from pipeline.formats import result

_SHOWN = (1, 5)  # of Top1, Top2, ... as far as changes are shown; a file has them all


def accuracy(comparisons: Sequence[Comparison]) -> Iterator[Section]:
    """Yield the table of TopN, of the images in common where they are matched; and of changes."""
    pairs = [(found, one) for one in comparisons for found in one.accuracies]
    # Side by side by batch size.
    pairs.sort(key=lambda pair: pair[0].pair.base.batch_size or 0)
    tops: list[tuple[str, ...]] = []
    changes: list[tuple[str, ...]] = []
    notes: list[str] = []
    for found, one in pairs:
        tops += [row for row in _tops(found, one) if row not in tops]  # the base's once
        changes += _changes(found, one)
        notes += _notes(found, one)
    notes += [without(one, "score") for one in comparisons if not one.accuracies]
    headings = tuple(f"Top{n}" for n in range(1, result.MOST_TOP_ENTRIES + 1))
    yield Section("accuracy", ("batch", "", "images", *headings), tuple(tops))
    headings = ("batch", "", "of", "points", "95 % interval", "won", "lost")
    yield Section(
        "changes of accuracy from A on",
        (*headings, "same answers", "SQNR dB"),
        tuple(changes),
        notes=tuple(dict.fromkeys(notes)),
    )


def _tops(found: Accuracy, one: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield the rows of base and other."""
    matched, scores = found.matched, (found.base, found.other)
    for place, side in enumerate((one.base, one.other)):
        images, tops = scores[place].found.images, list(scores[place].found.percentages)
        if matched:
            hits = [(change.base_hits, change.other_hits)[place] for change in matched.changes]
            images, tops = matched.images, [100 * hit / matched.images for hit in hits]
        shown = [f"{top:.2f} %" for top in tops]
        shown += [MISSING] * (result.MOST_TOP_ENTRIES - len(shown))
        yield batch(found.pair.batch_sizes[place]), side.letter, str(images), *shown


def _changes(found: Accuracy, one: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield a row for each TopN that is shown; what does not depend on N stands in the first."""
    where = batch(found.pair.batch_sizes[1]), one.other.letter
    matched = found.matched
    if matched is None:
        if found.rough_points is not None:
            yield (*where, "Top1", f"{found.rough_points:+.2f}", *[MISSING] * 5)
        return
    for top in _SHOWN:
        if top <= len(matched.changes):
            rest = ("", "")
            if top == 1:
                same = f"{100 * matched.same / matched.images:.2f} %"
                rest = same, _decibels(matched.sqnr_db)
            yield (*where, f"Top{top}", *_change(matched.changes[top - 1]), *rest)


def _change(change: Change) -> tuple[str, ...]:
    low, high = change.interval
    counts = str(change.won), str(change.lost)
    return f"{change.points:+.2f}", f"{low:+.2f} to {high:+.2f}", *counts


def _notes(found: Accuracy, one: Comparison) -> Iterator[str]:
    sizes = found.pair.batch_sizes
    if sizes[0] != sizes[1]:
        yield f"{names(one)}: scores of batch {batch(sizes[1])} and {batch(sizes[0])}"
    if found.matched is None:
        yield f"{names(one)}: not compared image by image, for {found.why}"
        return
    matched = found.matched
    for side, count in zip((one.base, one.other), matched.left_out, strict=True):
        if count:
            are = "image is" if count == 1 else "images are"
            yield f"{names(one)}: {count} {are} left out, {side.letter} alone has them"
    if matched.relabelled:
        yield (
            f"{names(one)}: {matched.relabelled} images have other labels; each side is held "
            "against its own"
        )
    if matched.without_sqnr:
        yield f"{names(one)}: no SQNR, for {matched.without_sqnr}"


def flips(one: Comparison, classes: Mapping[int, str], most: int) -> Iterator[Section]:
    """Yield the flips of each pair of runs, up to `most` of a kind; but once if they are the same.

    `classes` are the names of classes.
    """
    shown: dict[tuple[tuple[str, int, int], ...], list[Accuracy]] = {}
    for found in one.accuracies:
        if found.matched:
            key = tuple((f.image, f.base_answer, f.other_answer) for f in found.matched.flips)
            shown.setdefault(key, []).append(found)
    base, other = one.base.letter, one.other.letter
    words = ("image", "class", f"{base} says", f"{other} says")
    for same in shown.values():
        matched = same[0].matched
        assert matched is not None
        sizes = ", ".join(batch(found.pair.batch_sizes[1]) for found in same)
        rows = [_flip(flip, classes) for flip in _chosen(matched, most)]
        left = len(matched.flips) - len(rows)
        meaning = f"of {base}, of {other}: the probability that it gives its answer"
        notes = [meaning] if rows else []
        notes += [f"{left} more, in --out FILE.json"] if left else []
        yield Section(
            f"answers of {other} that are not {base}'s, batch {sizes}: {_count(matched)}",
            ("flip", *words[:3], f"of {base}", words[3], f"of {other}"),
            tuple(rows),
            words,
            tuple(notes),
        )


def _count(matched: Matched) -> str:
    counts = {kind: matched.count(kind) for kind in KINDS}
    kinds = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n or kind != BOTH)
    return f"{len(matched.flips)} of {matched.images} ({kinds})" if matched.flips else "none"


def _chosen(matched: Matched, most: int) -> Iterator[Flip]:
    for kind in KINDS:
        yield from [flip for flip in matched.flips if flip.kind == kind][:most]


def _flip(flip: Flip, classes: Mapping[int, str]) -> tuple[str, ...]:
    label, was, now = (
        class_names.name_of(number, classes)
        for number in (flip.label, flip.base_answer, flip.other_answer)
    )
    shares = f"{100 * flip.base_share:.1f} %", f"{100 * flip.other_share:.1f} %"
    return flip.kind, flip.image, label, was, shares[0], now, shares[1]


def _decibels(value: float | None) -> str:
    if value is None:
        return MISSING
    return "identical" if value == math.inf else f"{value:.1f}"
