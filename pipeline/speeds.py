"""Perf files to the guide's table of speeds.

The tool measures one chip, and the figure of a card is that of its chips together: four on an
Ascend 310, one elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline import identity, quotable, record
from pipeline.errors import PipelineError
from pipeline.formats import ais_summary, perf, text
from pipeline.published import CHIPS_PER_310_CARD

SCHEMA = 1
ON_CARD = "ascend"  # the engine that runs on a card's chips
_MOST_BYTES = 1 << 20  # of a perf file, which has some hundred

_BATCH_IN_MODEL = re.compile(r"(?:^|[_-])bs([0-9]+)(?:$|[_.-])", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One perf file; None where its name or its kind says nothing of the figure."""

    file: str
    kind: str  # "dataset", "pure" or "ais_bench"
    model: str | None  # the model type of a data-set run, the model's name of a pure one
    batch_size: int | None
    device: int | None
    interface_rate: float  # samples/s of one chip, the model's execution alone
    latency_ms: float  # per sample, of one inference call
    chips: int
    chips_because: str
    card_rate: float  # samples/s: interface_rate times chips
    e2e_rate: float | None  # samples/s of the whole run
    e2e_share: float | None  # e2e_rate by interface_rate
    verdict: str  # QUOTABLE, SMOKE or unknown
    verdict_because: tuple[str, ...]


def read(path: Path, chips: int | None) -> Row:
    """Read a perf file or a summary of ais_bench; `chips` per card, None to take it from a record.

    A file that the record of a run in its folder vouches for was measured on this machine's
    processor, where there is one chip; any other is taken for a 310's. PipelineError names file
    and line where it is no perf file.
    """
    if ais_summary.is_summary(path.name):
        return _read_summary(path, chips)
    try:
        # Its few lines are ASCII; what is not shows up as what it is in the message.
        data = text.read(path, "give files that the benchmark wrote", _MOST_BYTES)
        figures = perf.from_text(data.decode("ascii", "backslashreplace"))
    except ValueError as error:
        raise PipelineError(f"{path}: {error}", "give files that the benchmark wrote") from None
    name = perf.split_name(path.name)
    made = _record_of(path)
    if name and name.devices:
        count, why = 1, f"the file is of {len(name.devices)} devices together"
    else:
        count, why = (chips, "--chips") if chips is not None else _chips(made)
    verdict, because = _verdict(made)
    if isinstance(figures, perf.PurePerf):
        model = name.model_stem if name else None
        match = _BATCH_IN_MODEL.search(model or "")
        return Row(
            file=str(path),
            kind="pure",
            model=model,
            batch_size=int(match[1]) if match else None,
            device=name.device if name else None,
            interface_rate=figures.rate,
            latency_ms=figures.latency_ms,
            chips=count,
            chips_because=why,
            card_rate=figures.rate * count,
            e2e_rate=None,
            e2e_share=None,
            verdict=verdict,
            verdict_because=because,
        )
    rate = figures.interface_rate
    return Row(
        file=str(path),
        kind="dataset",
        model=name.model_type if name else None,
        batch_size=name.batch_size if name else None,
        device=name.device if name and not name.devices else None,
        interface_rate=rate,
        latency_ms=figures.infer_latency_ms,
        chips=count,
        chips_because=why,
        card_rate=rate * count,
        e2e_rate=figures.e2e_rate,
        e2e_share=figures.e2e_rate / rate if rate else None,
        verdict=verdict,
        verdict_because=because,
    )


def _read_summary(path: Path, chips: int | None) -> Row:
    hint = "give what ais_bench wrote"
    try:
        content = text.read(path, hint).decode(errors="backslashreplace")
        found = ais_summary.from_text(content, path.name)
    except ValueError as error:
        raise PipelineError(f"{path}: {error}", hint) from None
    count, why = (chips, "--chips") if chips is not None else _chips(None)
    verdict, because = _verdict(None)
    return Row(
        file=str(path),
        kind="ais_bench" if found.dataset else "pure",
        model=found.model,
        batch_size=found.batch_size,
        device=found.device,
        interface_rate=found.throughput,
        latency_ms=found.mean_ms / found.batch_size,
        chips=count,
        chips_because=why,
        card_rate=found.throughput * count,
        e2e_rate=None,
        e2e_share=None,
        verdict=verdict,
        verdict_because=because,
    )


def read_all(paths: Sequence[Path], chips: int | None) -> list[Row]:
    """Read all files and sort them by batch size; those without one come last.

    Records among them are passed over: `PureInfer*` names them as well.
    """
    perf_files = [path for path in paths if not path.name.endswith(record.SUFFIX)]
    if not perf_files:
        raise PipelineError(f"{paths[0]} is a record, and no perf file", "give the file beside it")
    rows = [read(path, chips) for path in perf_files]
    return sorted(rows, key=lambda row: (row.batch_size is None, row.batch_size or 0, row.kind))


def to_json(rows: Sequence[Row]) -> record.Json:
    """Return the rows for a program, with the units in the keys."""
    units = {"_rate": "_samples_per_s", "latency_ms": "_per_sample"}
    named = []
    for row in rows:
        entry = {}
        for key, value in asdict(row).items():
            unit = next((unit for end, unit in units.items() if key.endswith(end)), "")
            entry[key + unit] = value
        named.append(entry)
    return {"schema": SCHEMA, "rows": named}


def captions(rows: Sequence[Row]) -> list[str]:
    """Say how many chips were reckoned with and why, and why a rate may not be quoted."""
    reasons = {(row.chips, row.chips_because): None for row in rows}
    lines = [f"card rate = Interface rate x {chips}: {why}" for chips, why in reasons]
    # What holds for many is said once.
    named: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.verdict != quotable.QUOTABLE:
            said = (row.verdict, "; ".join(row.verdict_because))
            named.setdefault(said, []).append(Path(row.file).name)
    for (verdict, why), files in named.items():
        which = "all" if len(files) == len(rows) else ", ".join(files)
        lines.append(f"{verdict} ({which}): {why}")
    return lines


HEADINGS = (
    "batch",
    "device",
    "run",
    "Interface rate",
    "card rate",
    "end-to-end rate",
    "of Interface",
    "latency ms",
    "verdict",
)


def cells(row: Row) -> tuple[str, ...]:
    """Return the row's cells under `HEADINGS`; what the file does not say is blank."""
    run = row.model or Path(row.file).name
    return (
        _blank(row.batch_size, "d"),
        _blank(row.device, "d"),
        run + {"pure": " (pure inference)", "ais_bench": " (ais_bench)"}.get(row.kind, ""),
        f"{row.interface_rate:.6g}",
        f"{row.card_rate:.10g}",
        _blank(row.e2e_rate, ".6g"),
        _blank(row.e2e_share, ".1%"),
        f"{row.latency_ms:.6g}",
        row.verdict,
    )


def _blank(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _record_of(path: Path) -> record.Json | None:
    """Return the record, of those beside a perf file, of the run that wrote just that file."""
    digest = identity.file_digest(path)
    for place in sorted(path.parent.glob(f"*{record.SUFFIX}")):
        made = record.load(place.with_name(place.name.removesuffix(record.SUFFIX))) or {}
        for output in made.get("outputs", []):
            if Path(output["path"]).name == path.name and output.get("sha256") == digest:
                return made
    return None


def _chips(made: record.Json | None) -> tuple[int, str]:
    """Return how many chips a card has, judging by the record of the run, and why."""
    if made is None:
        return CHIPS_PER_310_CARD, f"a 310 card has {CHIPS_PER_310_CARD} chips (else give --chips)"
    engine = made.get("details", {}).get("engine", "an engine")
    # What one of the card's own tools measured has a record that names it as the runner.
    if engine == ON_CARD or "runner" in made.get("settings", {}):
        return CHIPS_PER_310_CARD, f"a 310 card has {CHIPS_PER_310_CARD} chips (else give --chips)"
    return 1, f"measured here by {engine}, without a card"


def _verdict(made: record.Json | None) -> tuple[str, tuple[str, ...]]:
    if made is None:
        return quotable.UNKNOWN, ("no record",)
    return quotable.of_record(made.get("details"))
