"""A work folder as a report that people look at: one page, and its data as JSON, CSV, Markdown.

From a work folder to plain data (`gather`), from that to the page (`page`) and to the other forms
(`forms`). The same folder gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.report.content import Report
    from pipeline.report.gather import Options
    from pipeline.work_dir import Work


@dataclass(frozen=True)
class Made:
    """What was made of a work folder."""

    report: Report
    page: Path
    others: tuple[Path, ...]
    pictures: int
    size: int  # of the page, in bytes


def make(folder: Path, page: Path, options: Options) -> Made:
    """Write the report of a work folder to `page`, and the other forms beside it, by its stem.

    PipelineError where the folder holds nothing to report, where an option contradicts a record,
    or where a file cannot be written. The page is written last.
    """
    from pipeline import atomic, lock, places, work_dir
    from pipeline.errors import PipelineError
    from pipeline.report import forms, gather
    from pipeline.report import page as room

    beside = {
        "json": page.with_name(f"{page.stem}.json"),
        "markdown": page.with_name(f"{page.stem}.md"),
        "runs": page.with_name(f"{page.stem}_runs.csv"),
        "classes": page.with_name(f"{page.stem}_classes.csv"),
        "wrong": page.with_name(f"{page.stem}_wrong.csv"),
    }
    if page in beside.values():
        raise PipelineError(f"{page} is one of the files beside the page", "name it as X.html")
    work = work_dir.read(folder)
    for path in (page, *beside.values()):
        places.check_file(path, list(_inputs(work)), make_parent=True)
    found, pictures = gather.gather(work, options)
    texts = {
        "json": forms.to_json(found),
        "markdown": forms.to_markdown(found),
        "runs": forms.runs_csv(found),
        "classes": forms.classes_csv(found),
        "wrong": forms.wrong_csv(found),
    }
    html = room.to_html(found, pictures, {kind: path.name for kind, path in beside.items()})
    places.make_folder(page.parent)
    with lock.holding(page):
        for kind, path in beside.items():
            atomic.write_text(path, texts[kind])
        atomic.write_text(page, html)
    shown = sum(picture.jpeg is not None for picture in pictures)
    return Made(found, page, tuple(beside.values()), shown, page.stat().st_size)


def _inputs(work: Work) -> Iterator[Path]:
    """Yield the files that a report of a work folder must not take the place of."""
    from pipeline import record

    for run in work.runs:
        files = [one.file for one in (run.score, run.speed) if one]
        yield from (*files, *map(record.path_of, files))
        if run.score and run.score.labels:
            yield run.score.labels
    for output, _ in work.stages:
        yield work.folder / output
        yield record.path_of(work.folder / output)
