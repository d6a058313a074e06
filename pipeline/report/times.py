"""Where the time went, how long the calls took and how much memory was needed, out of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline import chain, percentiles, work_dir
from pipeline.errors import one_line
from pipeline.record import Json
from pipeline.report import words
from pipeline.report.content import Busy, Latency, Part, Percentile, Stage
from pipeline.report.words import Text

LOAD, TIMED, REST = "load", "timed", "rest"
MOST_BINS = 40

_NS_PER_MS = 1_000_000
_TITLES = (
    *("sample", "export", "quantize", "atc", "preprocess", "get_info"),
    *("benchmark", "vision_metric_ImageNet"),
)


def records(work: work_dir.Work) -> list[tuple[str, Json]]:
    """Return the stages that ran to their end, each once, by the time of their start.

    A run of the model leaves the same record beside its dumps and beside its figures.
    """
    found: dict[tuple[object, ...], tuple[str, Json]] = {}
    for output, made in work.stages:
        if made["status"] == "complete" and made["stage"]:
            key = (made["stage"], str(made.get("started_unix_s")), tuple(made["command"]))
            found.setdefault(key, (output, made))
    return list(found.values())


def stages(work: work_dir.Work) -> Iterator[Stage]:
    """Yield what each stage took; without its time, a stage is left out."""
    for output, made in records(work):
        total = seconds(made, "timings_s", "total")
        if total is None:
            continue
        parts = tuple(_parts(made, total))
        yield Stage(
            title=title(made),
            output=one_line(output),
            seconds=round(sum(part.seconds for part in parts), 6),
            parts=parts,
            peak_process_bytes=chain.field(made, int, "peak_memory_bytes", "process"),
            peak_child_bytes=chain.field(made, int, "peak_memory_bytes", "largest_child"),
        )


def title(made: Json) -> Text:
    """Return what a stage is called; that of a run of the model has its batch size."""
    stage = made["stage"]
    if stage not in _TITLES:
        return words.plain(stage)
    found = words.say(f"plot.stage_{stage}")
    scored = ("details", "chain", "dumps", "settings", "batch_size")
    keys = ("settings", "batch_size") if stage == chain.BENCHMARK else scored
    batch = chain.field(made, int, *keys)
    if batch is None:
        return found
    return words.joined([found, words.say("runs.batch", size=batch)], ", ", "\uff0c")


def _parts(made: Json, total: float) -> Iterator[Part]:
    # A model is loaded before its run's record begins.
    load = seconds(made, "details", "load_s")
    timed = seconds(made, "timings_s", "end_to_end")
    if load is not None:
        yield Part(LOAD, load)
    if timed is not None and timed <= total:
        yield Part(TIMED, timed)
        total = round(total - timed, 6)
    yield Part(REST, total)


def busy(run: Text, made: Json) -> Busy | None:
    """Return how long each activity of a timed run was busy, None where its record lacks it."""
    names = ("end_to_end", "busy_read", "busy_prepare", "busy_infer", "busy_post")
    found = [seconds(made, "timings_s", name) for name in names]
    values = [value for value in found if value is not None]
    return Busy(run, *values) if len(values) == len(names) else None


def latency(run: Text, made: Json, latencies_ms: Sequence[float]) -> Latency | None:
    """Return how long the calls of a run took; None where its record keeps no latencies."""
    import numpy as np

    values = [value for value in latencies_ms if 0 <= value < 1e12]
    if not values:
        return None
    bins = min(MOST_BINS, len(np.histogram_bin_edges(values, "auto")) - 1)
    counts, edges = np.histogram(values, bins)
    found = percentiles.of([round(value * _NS_PER_MS) for value in values])
    return Latency(
        run=run,
        calls=len(values),
        requests=chain.field(made, int, "details", "requests"),
        least_ms=min(values),
        greatest_ms=max(values),
        edges_ms=tuple(round(edge, 6) for edge in edges.tolist()),
        counts=tuple(counts.tolist()),
        percentiles=tuple(
            Percentile(name, one.get("at_most_ms"), one.get("needs_calls"))
            for name, one in found.items()
        ),
    )


def seconds(made: Json, *keys: str) -> float | None:
    """Return a time out of a record; None where there is none that can be one."""
    found = chain.field(made, float, *keys)
    if found is None:
        whole = chain.field(made, int, *keys)
        found = None if whole is None else float(whole)
    return found if found is not None and 0 <= found < 1e12 else None
