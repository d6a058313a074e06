"""A comparison as files: JSON with all of it, and Markdown with what the screen shows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import atomic
from pipeline.compare import speed
from pipeline.compare.accuracy import Accuracy, Flip, Matched
from pipeline.compare.gate import Comparison, Limits, Ruling
from pipeline.compare.section import Section
from pipeline.compare.settings import Setting
from pipeline.compare.sides import Side
from pipeline.compare.speed import Speeds
from pipeline.compare.tables import Compared
from pipeline.errors import one_line
from pipeline.record import Json

SCHEMA = 1
SUFFIXES = (".json", ".md")
# What Markdown would take for markup inside a line.
_MARKUP = re.compile(r"([\\`*_\[\]<|~&$])")


def write(
    target: Path,
    found: Compared,
    parts: Sequence[Section],
    limits: Limits,
    rulings: Sequence[Ruling],
    verdict: str,
) -> None:
    """Write the comparison to `target`, in the form that its suffix names."""
    if target.suffix == ".md":
        atomic.write_text(target, markdown(parts, rulings, verdict))
    else:
        content = _finite(to_json(found, limits, rulings, verdict))
        atomic.write_text(target, json.dumps(content, indent=1, allow_nan=False) + "\n")


def markdown(parts: Sequence[Section], rulings: Sequence[Ruling], verdict: str) -> str:
    """Return the tables as Markdown, the verdict first."""
    lines = [f"**{_plain(verdict)}**", ""]
    lines += [f"- {_plain(_word(ruling.good))}: {_plain(ruling.text)}" for ruling in rulings]
    for part in parts:
        lines += ["", f"### {_plain(part.title)}", ""]
        if part.rows:
            lines.append(_row(part.headings))
            lines.append(_row([":--" if h in part.left else "--:" for h in part.headings], _as_is))
            lines += [_row(row) for row in part.rows]
            lines += [""] if part.notes else []
        lines += [f"- {_plain(note)}" for note in part.notes]
    return "\n".join(lines).rstrip("\n") + "\n"


def _row(cells: Sequence[str], form: object = None) -> str:
    return f"| {' | '.join(cells if form is _as_is else map(_plain, cells))} |"


def _as_is(text: str) -> str:
    return text


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", one_line(text))


def _word(good: bool) -> str:
    return "OK" if good else "FAILED"


def to_json(found: Compared, limits: Limits, rulings: Sequence[Ruling], verdict: str) -> Json:
    """Return all that was compared; fractions are 0 to 1, units stand in the keys."""
    return {
        "schema": SCHEMA,
        "verdict": verdict,
        "good": all(ruling.good for ruling in rulings),
        "sides": [_side(side) for side in found.sides],
        "settings": {
            "differing": [_setting(one) for one in found.settings.differing],
            "same": found.settings.same,
            "not_known_of_all": [_setting(one) for one in found.settings.unknown],
        },
        "comparisons": [_comparison(one, found.names) for one in found.comparisons],
        "gate": {
            "max_drop_points": limits.max_drop,
            "max_slowdown_percent": limits.max_slowdown,
            "rulings": [_ruling(ruling) for ruling in rulings],
        },
    }


def _side(side: Side) -> Json:
    return {
        "name": side.letter,
        "given": str(side.given),
        "runs": [
            {
                "batch_size": run.batch_size,
                "score_file": str(run.score.file) if run.score else None,
                "speed_file": str(run.speed.file) if run.speed else None,
                "dumps": str(run.score.dumps) if run.score and run.score.dumps else None,
                "labels": str(run.score.labels) if run.score and run.score.labels else None,
            }
            for run in side.runs
        ],
        "doubts": list(side.work.doubts),
    }


def _setting(setting: Setting) -> Json:
    values = [[fact.value for fact in facts] for facts in setting.values]
    return {"name": setting.name, "values": values, "texts": list(setting.texts)}


def _ruling(ruling: Ruling) -> Json:
    found = {"option": ruling.option, "good": ruling.good, "judged": ruling.beyond is not None}
    return found | {"text": ruling.text, "beyond": ruling.beyond}


def _comparison(one: Comparison, names: Mapping[int, str]) -> Json:
    return {
        "base": one.base.letter,
        "other": one.other.letter,
        "accuracy": [_accuracy(found, names) for found in one.accuracies],
        "speed": [_speeds(found) for found in one.speeds],
    }


def _accuracy(found: Accuracy, names: Mapping[int, str]) -> Json:
    return {
        "batch_sizes": list(found.pair.batch_sizes),
        "images": [found.base.found.images, found.other.found.images],
        "top_percent": [list(found.base.found.percentages), list(found.other.found.percentages)],
        "top1_change_points_by_the_scores": found.rough_points,
        "matched": _matched(found.matched, names) if found.matched else None,
        "not_matched_because": found.why or None,
    }


def _matched(found: Matched, names: Mapping[int, str]) -> Json:
    return {
        "images": found.images,
        "left_out": list(found.left_out),
        "relabelled": found.relabelled,
        "top": [
            {
                "n": n,
                "fractions": [change.base_hits / found.images, change.other_hits / found.images],
                "change_points": change.points,
                "change_95_points": list(change.interval),
                "won": change.won,
                "lost": change.lost,
            }
            for n, change in enumerate(found.changes, 1)
        ],
        "same_answers": found.same,
        "agreement_fraction": found.same / found.images,
        "sqnr_db": found.sqnr_db,
        "sqnr_missing_because": found.without_sqnr or None,
        "flips": [_flip(flip, names) for flip in found.flips],
    }


def _flip(flip: Flip, names: Mapping[int, str]) -> Json:
    return {
        "image": flip.image,
        "kind": flip.kind,
        "label": flip.label,
        "label_name": names.get(flip.label),
        "base_answer": flip.base_answer,
        "base_answer_name": names.get(flip.base_answer),
        "base_probability": flip.base_share,
        "other_answer": flip.other_answer,
        "other_answer_name": names.get(flip.other_answer),
        "other_probability": flip.other_share,
    }


def _speeds(found: Speeds) -> Json:
    return {
        "batch_sizes": list(found.pair.batch_sizes),
        "sides": [dict(_speed(found, place)) for place in range(2)],
        "interface_rate_ratio": None if found.ratio is None else float(found.ratio),
        "e2e_rate_ratio": None if found.e2e_ratio is None else float(found.e2e_ratio),
        "slowdown_percent": (
            None if found.slowdown_percent is None else float(found.slowdown_percent)
        ),
        "hint_only_because": found.doubts,
    }


def _speed(found: Speeds, place: int) -> Iterator[tuple[str, object]]:
    run = (found.pair.base, found.pair.other)[place]
    own = (found.base, found.other)[place]
    yield "interface_rate_images_per_s", own.chip_rate
    yield "chips", own.chips
    yield "card_rate_images_per_s", own.card_rate
    yield "e2e_rate_images_per_s", own.e2e_rate
    for percentile in ("p50", "p90"):
        yield f"{percentile}_at_most_ms", speed.latency_ms(run, percentile)
    yield "peak_memory_bytes", speed.peak_memory_bytes(run)
    yield "verdict", own.verdict
    yield "because", list(own.because)


def _finite(content: Any) -> Any:
    """Return what JSON can hold: infinity and NaN, which it lacks, as words."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    return content
