"""The page: one HTML file with its style, its script, its plots and its pictures."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from pipeline import published
from pipeline.errors import one_line
from pipeline.report import content, plots, verdicts, words

_FOLDER = Path(__file__).parent
MOST_CLASSES = 1000  # rows; all of them are in the file beside the page
MOST_CONFUSIONS = 40
MOST_REASONS = 20


def to_html(
    report: content.Report,
    pictures: Sequence[content.Picture],
    files: Mapping[str, str],
) -> str:
    """Return the page; `files` are the names of those beside it, by kind."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = {
        "rate": verdicts.rate,
        "percent": lambda value: f"{value:.2f}",
        "seconds": lambda value: f"{value:,.3f}",
        "mib": lambda value: "" if value is None else f"{value / (1 << 20):,.0f}",
        "ms": lambda value: f"{value:,.4g}" if value < 1000 else f"{value:,.0f}",
        "jpeg": _data_address,
        "shown": one_line,
        "address": lambda name: quote(os.fsencode(name)),
    }
    environment.filters |= filters
    return environment.get_template("page.html.j2").render(
        report=report,
        pictures=pictures,
        files=files,
        plots=plots.all_of(report),
        t=words.say,
        published=published,
        style=_raw("page.css"),
        script=_raw("page.js"),
        most_classes=MOST_CLASSES,
        most_confusions=MOST_CONFUSIONS,
        reasons=_reasons(report),
    )


def _reasons(report: content.Report) -> list[tuple[content.Run, words.Text]]:
    found = [(run, reason) for run in report.runs for reason in run.because]
    return found[:MOST_REASONS]


def _raw(name: str) -> Markup:
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def _data_address(jpeg: bytes) -> Markup:
    return Markup("data:image/jpeg;base64," + base64.b64encode(jpeg).decode())
