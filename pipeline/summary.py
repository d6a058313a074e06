"""The table at the end of a whole run: accuracy, speed, and where the files are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import identity, quotable, record, table
from pipeline.errors import PipelineError, one_line
from pipeline.formats import perf, result, text

MODEL = Path("vovnet39.onnx")
REPORT = Path("report.html")
MISSING = "-"
_MOST_BYTES = 1 << 20  # of a result or a perf file, which have some hundred
HEADINGS = ("batch", "images", "Top1", "95 % interval", "Top5", "images/s", "end to end", "verdict")


@dataclass(frozen=True)
class Row:
    """One batch size; what was not measured (yet) is None."""

    batch_size: int
    device: int
    result_file: Path
    perf_file: Path
    result: result.Result | None
    perf: perf.DatasetPerf | None

    @property
    def dumps(self) -> Path:
        """The folder that the benchmark fills for this device."""
        return self.perf_file.parent / f"dumpOutput_device{self.device}"


def read_row(result_file: Path, perf_file: Path) -> Row:
    """Read the two files of one batch size, as far as they are there.

    PipelineError names a file that holds something else, or a perf file whose name does not say
    batch size and device.
    """
    name = perf.split_name(perf_file.name)
    if name is None or name.batch_size is None:
        raise PipelineError(
            f"{perf_file} is not named as a perf file of a data set",
            "that is perf_vision_batchsize_<B>_device_<D>.txt",
        )
    found_result, found_perf = None, None
    if result_file.exists():
        try:
            found_result = result.from_text(_read(result_file, "score anew"))
        except ValueError as error:
            raise PipelineError(f"{result_file}: {error}", "score anew") from error
    if perf_file.exists():
        try:
            figures = perf.from_text(_read(perf_file, "measure anew"))
        except ValueError as error:
            raise PipelineError(f"{perf_file}: {error}", "measure anew") from error
        if not isinstance(figures, perf.DatasetPerf):
            raise PipelineError(f"{perf_file} holds a pure inference run", "measure a data set")
        found_perf = figures
    return Row(name.batch_size, name.device, result_file, perf_file, found_result, found_perf)


def _read(path: Path, hint: str) -> str:
    return text.read(path, hint, _MOST_BYTES).decode(errors="replace")


def show(rows: Sequence[Row]) -> None:
    """Print the table of `rows` to stdout, and below it what it rests on and where that lies."""
    table.show(
        HEADINGS,
        [(str(row.batch_size), *_accuracy(row), *_speed(row), _verdict(row)[0]) for row in rows],
    )
    files = [
        f"{label:<9}{' '.join(there)}"
        for label, paths in _files(rows)
        if (there := [str(path) for path in paths if path.exists()])
    ]
    lines = ["", *_engines(rows), *_reasons(rows), *_meaning(rows), "", *files]
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))


def _accuracy(row: Row) -> tuple[str, str, str, str]:
    """Return images, Top1, its interval and Top5 as the table has them."""
    found = row.result
    if found is None:
        return MISSING, MISSING, MISSING, MISSING
    interval = MISSING
    scored = record.load(row.result_file)
    if scored and scored["outputs"] == [identity.fingerprint(row.result_file)]:
        ends = scored["details"].get("top1_interval_95")
        if isinstance(ends, list) and [type(end) for end in ends] == [float, float]:
            interval = f"{ends[0] * 100:.2f} - {ends[1] * 100:.2f} %"
    top5 = f"{found.percentages[4]:.2f} %" if len(found.percentages) > 4 else MISSING
    return str(found.images), f"{found.percentages[0]:.2f} %", interval, top5


def _speed(row: Row) -> tuple[str, str]:
    """Return the Interface rate and the end-to-end rate as the table has them."""
    found = row.perf
    if found is None or _is_of_another_run(row):
        return MISSING, MISSING
    return f"{found.interface_rate:.2f}", f"{found.e2e_rate:.2f}"


def _verdict(row: Row) -> tuple[str, tuple[str, ...]]:
    """Return whether the speed may be quoted, as the record of the perf file says, and why not."""
    if row.perf is None:
        return MISSING, ()
    if _is_of_another_run(row):
        return MISSING, (f"{row.perf_file} is of another run than {row.result_file}: score anew",)
    made = record.load(row.perf_file)
    if made is None:
        return quotable.UNKNOWN, ("no record",)
    digest = identity.file_digest(row.perf_file)
    if not any(output.get("sha256") == digest for output in made.get("outputs", [])):
        return quotable.UNKNOWN, ("its record is that of another file",)
    return quotable.of_record(made.get("details"))


def _is_of_another_run(row: Row) -> bool:
    """Say whether the records of result and perf file name different dumps."""
    scored, timed = record.load(row.result_file), record.load(row.perf_file)
    if scored is None or timed is None:
        return False
    dumps = [entry.get("listing_sha256") for entry in scored["inputs"][:1]]
    return dumps != [entry.get("listing_sha256") for entry in timed["outputs"][:1]]


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Return why speeds may not be quoted, one line for all that have the same reasons."""
    sizes: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        word, because = _verdict(row)
        if because:
            sizes.setdefault((word, "; ".join(because)), []).append(str(row.batch_size))
    return [f"{word} (batch {', '.join(some)}): {why}" for (word, why), some in sizes.items()]


def _engines(rows: Sequence[Row]) -> list[str]:
    """Return one line for each way that a model was run, from the records of the runs."""
    lines: list[str] = []
    for row in rows:
        made = (record.load(row.perf_file) or {}).get("details", {})
        words = [made.get(key) for key in ("engine", "engine_version", "effective_precision")]
        if all(words):
            line = (
                f"images/s: the model alone, by {words[0]} {words[1]}, {words[2]},"
                f" {made.get('threads')} threads; end to end: with reading and writing"
            )
            if line not in lines:
                lines.append(line)
    return lines


def _meaning(rows: Sequence[Row]) -> list[str]:
    """Return what the figures mean where the sample was scored, as the sample's record says it."""
    for row in rows:
        scored = record.load(row.result_file) or {}
        for entry in scored.get("inputs", []):
            folder = (Path(scored["folder"]) / entry["path"]).parent
            made = record.load(folder) if folder.name else None
            if made and made["stage"] == "sample":
                return [str(made["details"].get("meaning", ""))]
    return []


def _files(rows: Sequence[Row]) -> list[tuple[str, list[Path]]]:
    return [
        ("model", [MODEL]),
        ("dumps", [row.dumps for row in rows]),
        ("accuracy", [row.result_file for row in rows]),
        ("speed", [row.perf_file for row in rows]),
        ("report", [REPORT] if _is_of_now(rows) else []),
    ]


def _is_of_now(rows: Sequence[Row]) -> bool:
    """Say whether the report was made after the figures that it shows."""
    figures = [place for row in rows for place in (row.result_file, row.perf_file)]
    times = [place.stat().st_mtime_ns for place in (*figures, REPORT) if place.exists()]
    return REPORT.exists() and max(times) == times[-1]
