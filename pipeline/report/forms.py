"""The report's data in other forms: JSON first, CSV and Markdown out of the same."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline import published
from pipeline.report import content, verdicts
from pipeline.report.content import Report
from pipeline.report.words import Text

# A spreadsheet takes a cell that begins so for a formula, and names come from outside.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_ROWS = 20  # of a table in Markdown


def to_json(report: Report) -> str:
    """Return all of the report, with the units in the keys; texts as {"en": ..., "zh": ...}."""
    found = {"schema": report.schema, **_plain(report), "published": _published()}
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Return dataclasses as JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _published() -> dict[str, Any]:
    rates = [
        {
            "batch_size": one.batch_size,
            "chip_310_2022_images_per_s": one.chip_310,
            "chip_310_2022_end_to_end_images_per_s": one.e2e_310,
            "chip_310p_2022_images_per_s": one.chip_310p,
            "card_310_images_per_s": one.card_310,
            "card_310p_images_per_s": one.card_310p,
            "card_t4_images_per_s": one.card_t4,
        }
        for one in published.SPEEDS
    ]
    return {
        "images": published.VALIDATION_IMAGES,
        "source_top1_percent": published.SOURCE_TOP1,
        "source_top5_percent": published.SOURCE_TOP5,
        "om_top1_percent": published.OM_TOP1,
        "om_top5_percent": published.OM_TOP5,
        "rates": rates,
    }


def runs_csv(report: Report) -> str:
    """Return a row for each run."""
    heads = ("run", "batch_size", "images", "classes", "engine", "precision", "threads")
    rates = ("chip_images_per_s", "chips", "card_images_per_s", "end_to_end_images_per_s")
    tops = [f"top{place}_percent" for place in range(1, 6)]
    ends = ("top1_low_percent", "top1_high_percent", "verdict", "because", "result_file")
    rows = []
    for run in report.runs:
        top = [one.percent for one in run.top]
        interval = [run.top[0].low_percent, run.top[0].high_percent] if run.top else ["", ""]
        rows.append(
            [
                *(run.name.en, *(getattr(run, name) for name in heads[1:])),
                *(getattr(run, name) for name in rates),
                *top,
                *[""] * (5 - len(top)),
                *interval,
                run.verdict,
                "; ".join(reason.en for reason in run.because),
                run.result_file,
            ]
        )
    return _csv([*heads, *rates, *tops, *ends], rows)


def classes_csv(report: Report) -> str:
    """Return a row for each class; only the heads where there is nothing of classes."""
    names = [field.name for field in dataclasses.fields(content.Class)]
    classes = report.per_class.classes if report.per_class else ()
    return _csv(names, ([getattr(one, name) for name in names] for one in classes))


def wrong_csv(report: Report) -> str:
    """Return a row for each wrong image with its five best guesses."""
    heads = ["image", "label", "class", "rank"]
    for place in range(1, 6):
        heads += [f"guess{place}", f"guess{place}_class", f"guess{place}_probability"]
    rows = []
    for one in report.per_class.wrong if report.per_class else ():
        row: list[object] = [one.image, one.label, one.name, one.rank]
        for guess in one.guesses:
            row += [guess.label, guess.name, guess.probability]
        rows.append(row + [""] * (len(heads) - len(row)))
    return _csv(heads, rows)


def _csv(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def to_markdown(report: Report) -> str:
    """Return the verdicts and the tables of runs and classes, in English."""
    lines = [f"# {_md(report.name)}: VoVNet-39 inference report", "", _md(report.subtitle), ""]
    heads = ("", "verdict", "figure", "because")
    rows = [
        (
            one.subject,
            one.word,
            f"{one.figure} {one.caption}".strip(),
            " ".join(map(str, one.because)),
        )
        for one in report.verdicts
    ]
    lines += ["## Verdicts", "", *_table(heads, rows), "", "## Runs", "", *_runs(report), ""]
    lines += [f"- not shown ({part}): {_md(why)}" for part, why in report.absent.items()]
    if report.stages:
        stages = [(stage.title, stage.output, f"{stage.seconds:,.3f}") for stage in report.stages]
        lines += ["", "## Time", "", *_table(("stage", "output", "seconds"), stages)]
    if report.per_class:
        lines += ["", *_classes(report.per_class)]
    if report.ran.facts:
        facts = [(fact.what, fact.value) for fact in report.ran.facts]
        lines += ["", "## What ran", "", *_table(("", ""), facts)]
    return "\n".join(lines).rstrip() + "\n"


def _runs(report: Report) -> list[str]:
    heads = ("run", "images", "Top1 %", "95 % interval", "Top5 %", "images/s", "end to end", "")
    rows = []
    for run in report.runs:
        top1 = run.top[0] if run.top else None
        rows.append(
            (
                run.name,
                "" if run.images is None else f"{run.images:,}",
                f"{top1.percent:.2f}" if top1 else "",
                f"{top1.low_percent:.2f} - {top1.high_percent:.2f}" if top1 else "",
                f"{run.top[4].percent:.2f}" if len(run.top) > 4 else "",
                verdicts.rate(run.card_images_per_s),
                verdicts.rate(run.end_to_end_images_per_s),
                run.verdict,
            )
        )
    return _table(heads, rows)


def _classes(found: content.PerClass) -> list[str]:
    classes = [
        (one.label, one.name, one.images, f"{one.top1_percent:.2f}", f"{one.top5_percent:.2f}")
        for one in found.classes[:_MOST_ROWS]
    ]
    pairs = [(one.name, one.answer_name, one.images) for one in found.confusions[:_MOST_ROWS]]
    heads = ("label", "class", "images", "Top1 %", "Top5 %")
    lines = ["## Classes with the lowest Top1", "", *_table(heads, classes)]
    return [*lines, "", "## Confusions", "", *_table(("label", "taken for", "images"), pairs)]


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [_row(heads), "|" + " --- |" * len(heads)]
    return lines + [_row(row) for row in rows]


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(_md(cell) for cell in cells) + " |"


def _md(value: object) -> str:
    """Return a text that nothing in it makes Markdown or HTML of."""
    text = value.en if isinstance(value, Text) else str(value)
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text
