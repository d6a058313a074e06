"""From what is given to the tables, the files and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import chain, class_names, places
from pipeline.compare import accuracy, forms, gate, settings, sides, speed, tables
from pipeline.compare.gate import Comparison, Limits
from pipeline.compare.sides import Side
from pipeline.compare.tables import Compared


@dataclass(frozen=True)
class Outcome:
    """The verdict; good where no limit was passed."""

    good: bool
    text: str


def compare(
    given: Sequence[Path],
    limits: Limits,
    batch_size: int | None = None,
    flips: int = 20,
    targets: Sequence[Path] = (),
) -> Outcome:
    """Compare each of `given` with the first; print the tables, write `targets`.

    `flips` images of each kind of flip are shown, and all of them are in a JSON file. Raises
    PipelineError where something cannot be read, or a target not be written; then nothing is.
    """
    found_sides = sides.read(given, batch_size)
    for target in targets:
        places.check_file(target, _files(found_sides))
    base, *others = found_sides
    reader = accuracy.Reader()
    comparisons = tuple(_compare(reader, base, other) for other in others)
    found = Compared(
        tuple(found_sides), settings.differences(found_sides), comparisons, _names(comparisons)
    )
    rulings = gate.rule(comparisons, limits)
    parts = tables.sections(found, flips)
    good = all(ruling.good for ruling in rulings)
    text = gate.say(rulings) if rulings else _say(comparisons)
    for target in targets:
        forms.write(target, found, parts, limits, rulings, f"{'OK' if good else 'FAILED'}: {text}")
    tables.show(parts)
    return Outcome(good, text)


def _compare(reader: accuracy.Reader, base: Side, other: Side) -> Comparison:
    scores = tuple(reader.compare(pair) for pair in sides.scored(base, other))
    return Comparison(base, other, scores, tuple(speed.compare(sides.timed(base, other))))


def _files(found: Sequence[Side]) -> list[Path]:
    runs = [run for side in found for run in side.runs]
    return [one.file for run in runs for one in (run.score, run.speed) if one] + [
        run.score.labels for run in runs if run.score and run.score.labels
    ]


def _names(comparisons: Sequence[Comparison]) -> dict[int, str]:
    """Return the names of the base's classes, where flips are to be shown at all."""
    for one in comparisons:
        for found in one.accuracies:
            if found.matched and found.matched.flips:
                prepared = one.base.work.made_by(chain.PREPROCESS)
                score = found.base
                sample = class_names.sample_of(score.labels)
                return class_names.of_run(sample, prepared, score.found.classes)[0]
    return {}


def _say(comparisons: Sequence[Comparison]) -> str:
    """Return what a comparison without limits came to, of each side beside the base."""
    return "; ".join(f"{one.other.letter}: {', '.join(_figures(one))}" for one in comparisons)


def _figures(one: Comparison) -> list[str]:
    found = []
    matched = next((score.matched for score in one.accuracies if score.matched), None)
    rough = next((score.rough_points for score in one.accuracies), None)
    if matched:
        found.append(f"Top1 {matched.changes[0].points:+.2f} points on {matched.images} images")
        found.append(f"{len(matched.flips)} answers flipped")
    elif rough is not None:
        found.append(f"Top1 {rough:+.2f} points by the scores alone")
    else:
        found.append("accuracy not compared")
    ratios = [(float(pair.ratio), pair) for pair in one.speeds if pair.ratio is not None]
    for ratio, pair in ratios:
        size = pair.pair.other.batch_size
        hint = " (a hint only)" if pair.doubts else ""
        found.append(f"{ratio:.3f}x at batch {size or 'unknown'}{hint}")
    return found if ratios else [*found, "speed not compared"]
