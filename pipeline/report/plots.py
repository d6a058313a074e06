"""The report's plots, by matplotlib: speed by batch size, time, memory, latencies, confusions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pipeline import percentiles, published
from pipeline.report import svg
from pipeline.report.content import Latency, Matrix, Report, Run, Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_STAGES = 60  # that are drawn; the table has all
MOST_LATENCIES = 6  # runs that are drawn; the table has all
_LEAST_CALLS = percentiles.least_calls(percentiles.PERCENTILES["p50"])  # fewer have no shape
WIDTH = 7.6  # inches; the page makes it as wide as there is room
_HALF = 4.7  # of a plot that has another beside it
_MIB = 1 << 20
_MATRIX_COLOUR = (0.16, 0.42, 0.78)
_LONGEST_NAME = 24  # characters of a class in the matrix
_BAR = 0.42  # inches that a bar takes, its gap included


def all_of(report: Report) -> dict[str, Markup]:
    """Return every plot that there is something to draw for, by name."""
    found = {}
    timed = [run for run in report.runs if run.chip_images_per_s and run.batch_size]
    if timed:
        on_card = bool(report.on_card)
        timed = [run for run in timed if run.on_card] or timed
        found["speed"] = svg.drawn("speed", functools.partial(_speed, timed, on_card))
    stages = report.stages[:MOST_STAGES]
    if stages:
        titles = [stage.title for stage in stages]
        found["time"] = svg.drawn("time", functools.partial(_time, stages), titles)
    with_memory = [stage for stage in stages if stage.peak_process_bytes]
    if with_memory:
        titles = [stage.title for stage in with_memory]
        found["memory"] = svg.drawn("memory", functools.partial(_memory, with_memory), titles)
    for number, latency in enumerate(report.latencies[:MOST_LATENCIES], 1):
        name = f"latency-{number}"
        if latency.calls >= _LEAST_CALLS:
            found[name] = svg.drawn(name, functools.partial(_latency, latency))
    if report.per_class and report.per_class.matrix:
        draw = functools.partial(_matrix, report.per_class.matrix)
        found["matrix"] = svg.drawn("matrix", draw)
    return found


def _axes(
    height: float, left: float, *, bottom: float = 0.55, top: float = 0.2, width: float = WIDTH
) -> tuple[Figure, Any]:
    """Return a figure with axes at fixed margins, all in inches.

    Fixed, because a text's width is another in each language and font.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    right = 0.25
    axes = figure.add_axes(
        (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - bottom - top) / height,
        )
    )
    axes.tick_params(length=0)
    return figure, axes


def _speed(runs: Sequence[Run], on_card: bool) -> Figure:
    """Draw rates of a card, or of this processor, over batch sizes; both axes logarithmic."""
    figure, axes = _axes(4.4, 0.75, top=0.7)
    others = [
        ("T4 (published)", svg.OTHER_1, "s", [(s.batch_size, s.card_t4) for s in published.SPEEDS]),
        (
            *("310P card (published)", svg.OTHER_2, "^"),
            [(s.batch_size, s.card_310p) for s in published.SPEEDS],
        ),
        (
            *("310 card (published)", svg.OTHER_3, "D"),
            [(s.batch_size, s.card_310) for s in published.SPEEDS],
        ),
    ]
    for label, colour, mark, points in others:
        style = {"linestyle": (0, (4, 3)), "linewidth": 1.4, "markersize": 6}
        axes.plot(
            *zip(*points, strict=True),
            color=colour,
            marker=mark,
            markerfacecolor=svg.PAPER,
            label=label,
            **style,
        )
    label = "here, whole card" if on_card else "here, model alone"
    here = [(run.batch_size, run.card_images_per_s) for run in runs]
    axes.plot(
        *zip(*here, strict=True), color=svg.ACCENT, marker="o", markersize=8, lw=2.4, label=label
    )
    whole = [(r.batch_size, r.end_to_end_images_per_s) for r in runs if r.end_to_end_images_per_s]
    if whole:
        axes.plot(
            *zip(*whole, strict=True),
            color=svg.SECOND,
            marker="o",
            markersize=4,
            lw=1.4,
            ls=":",
            label="here, end to end",
        )
    _label_points(axes, here)
    _logarithmic(
        axes, sorted({size for size, _ in here} | {s.batch_size for s in published.SPEEDS})
    )
    axes.set_xlabel("batch size")
    axes.set_ylabel("images/s")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, fontsize=10)
    return figure


def _label_points(axes: Any, points: Sequence[tuple[Any, Any]]) -> None:
    for size, rate in points:
        axes.annotate(
            f"{rate:,.4g}" if rate < 1000 else f"{rate:,.0f}",
            (size, rate),
            xytext=(0, 11),
            textcoords="offset points",
            ha="center",
            color=svg.ACCENT,
            fontweight="bold",
        )


def _logarithmic(axes: Any, sizes: Sequence[Any]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    axes.set_ylim(10 ** _below(low), high * 1.6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)
    axes.grid(axis="y")


def _below(value: float) -> int:
    import math

    return math.floor(math.log10(value))


def _bars(titles: Sequence[str]) -> tuple[Figure, Any]:
    figure, axes = _axes(0.85 + _BAR * len(titles), 1.95)
    axes.set_yticks(range(len(titles)), titles)
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return figure, axes


def _time(stages: Sequence[Stage]) -> Figure:
    figure, axes = _bars([stage.title.en for stage in stages])
    colours = {"load": svg.THIRD, "timed": svg.ACCENT, "rest": svg.MUTED}
    longest = max(stage.seconds for stage in stages) or 1.0
    for row, stage in enumerate(stages):
        left = 0.0
        for part in stage.parts:
            axes.barh(row, part.seconds, 0.62, left, color=colours[part.kind])
            left += part.seconds
        axes.text(left + longest * 0.012, row, _seconds(left), va="center", fontsize=10)
    axes.set_xlim(0, longest * 1.12)
    axes.set_xlabel("seconds")
    return figure


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def _memory(stages: Sequence[Stage]) -> Figure:
    figure, axes = _bars([stage.title.en for stage in stages])
    own = [(stage.peak_process_bytes or 0) / _MIB for stage in stages]
    workers = [(stage.peak_child_bytes or 0) / _MIB for stage in stages]
    longest = max(*own, *workers)
    for row, (process, worker) in enumerate(zip(own, workers, strict=True)):
        axes.barh(row - 0.17, process, 0.32, color=svg.ACCENT)
        axes.barh(row + 0.19, worker, 0.24, color=svg.SECOND)
        axes.text(
            process + longest * 0.012, row - 0.17, f"{process:,.0f}", va="center", fontsize=10
        )
    axes.set_xlim(0, longest * 1.12)
    axes.set_xlabel("MiB")
    return figure


def _latency(latency: Latency) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes(2.7, 0.7, width=_HALF)
    widths = [high - low for low, high in itertools.pairwise(latency.edges_ms)]
    axes.bar(
        latency.edges_ms[:-1], latency.counts, widths, align="edge", color=svg.ACCENT, alpha=0.75
    )
    top = max(latency.counts) * 1.32
    axes.set_ylim(0, top)
    bounds = [(p.name, p.at_most_ms) for p in latency.percentiles if p.at_most_ms is not None]
    for number, (name, value) in enumerate(bounds):
        axes.axvline(value, color=svg.SECOND, linestyle=(0, (4, 3)), linewidth=1.3)
        height = top * (0.96 - 0.09 * (number % 2))
        axes.annotate(name, (value, height), (4, -8), textcoords="offset points", fontsize=10)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("calls")
    axes.grid(axis="y")
    return figure


def _matrix(matrix: Matrix) -> Figure:
    import numpy as np

    count = len(matrix.labels)
    names = [name[:_LONGEST_NAME] for name in matrix.labels]
    margin = 0.45 + 0.065 * max(len(name) for name in [*names, "others"])
    size = min(WIDTH - margin - 0.25, 0.4 * count)
    width = WIDTH if size > WIDTH / 2 else margin + size + 0.25
    figure, axes = _axes(margin + size + 0.1, margin, bottom=margin, top=0.1, width=width)
    shares = np.array(matrix.percent)
    # A variable of the page cannot stand in a picture. How much of one colour is laid over the page
    # serves light and dark; a single image of many is to be seen as well.
    pixels = np.zeros((*shares.shape, 4))
    pixels[..., :3] = _MATRIX_COLOUR
    pixels[..., 3] = np.where(shares > 0, 0.15 + 0.85 * shares / 100, 0)
    axes.imshow(pixels, interpolation="none", aspect="auto")
    axes.set_yticks(range(count), names, fontsize=8)
    axes.set_xticks(range(count + 1), [*names, "others"], rotation=90, fontsize=8)
    axes.set_ylabel("label")
    axes.set_xlabel("answer")
    axes.set_xticks([place - 0.5 for place in range(1, count + 1)], minor=True)
    axes.set_yticks([place - 0.5 for place in range(1, count)], minor=True)
    axes.grid(which="minor", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    return figure
