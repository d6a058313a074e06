"""What lies in a work folder: its runs, each with accuracy, speed and dumps, and what they rest on.

A work folder is where the guide's commands were typed, or where run_all.sh worked. In it, or in
`result/` below it, lie

    result*.json                     scores
    perf_*_batchsize_*_device*.txt   speeds, of the benchmark tool or of benchmark.py
    ais_bench_batchsize_*.json       speeds, of ais_bench

A score and a speed are of one run where their records name the same dumps. Where a record is
missing, they are where their names have the same batch size, and where there is just one of each.
Records are read like any other input: what they lack is None or empty, and what is odd about a file
is a line of `Work.doubts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import chain, identity, record, speeds
from pipeline.ascend import npu_smi
from pipeline.errors import PipelineError
from pipeline.formats import perf, result, text
from pipeline.record import Json

_PLACES = ("", "result")
_SPEED = re.compile(r"(?:perf|ais_bench)_(?:.+_)?batchsize_([0-9]+)_devices?_[0-9_]+\.(?:txt|json)")
_SCORE = re.compile(r"result.*?(?:_bs([0-9]+))?\.json")
_MOST_BYTES = 1 << 20  # of a result or a perf file, which have some hundred
_MOST_US = 1e15  # of a call: what is longer, or is no number, is no latency
_RECORDS_DEEP = ("*", "result/*")  # where the stages' outputs lie, as patterns


@dataclass(frozen=True)
class Speed:
    """Rates in images/s: of one chip in the model alone, of a card, and of the whole run."""

    file: Path
    batch_size: int
    chip_rate: float
    chips: int  # that `card_rate` is reckoned with
    card_rate: float
    e2e_rate: float | None
    perf: perf.DatasetPerf | None  # None where ais_bench measured
    verdict: str  # QUOTABLE, SMOKE or unknown
    because: tuple[str, ...]
    made: Json  # the record of the run that measured it; empty where there is none


@dataclass(frozen=True)
class Score:
    """What the scorer found; `made` is its record, empty where it has none or is of other content.

    `dumps` and `labels` are what was scored, None where they are gone or, so far as that is
    known, others now.
    """

    file: Path
    batch_size: int | None  # as its name says
    found: result.Result
    made: Json
    dumps: Path | None
    labels: Path | None

    @property
    def top1_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of Top1, in percent."""
        ends = chain.field(self.made, list, "details", "top1_interval_95")
        if not ends or [type(end) for end in ends] != [float, float]:
            return None
        return 100 * ends[0], 100 * ends[1]


@dataclass(frozen=True)
class Run:
    """One run over a data set; what was not done, or is not known to be of this run, is None."""

    score: Score | None
    speed: Speed | None

    @property
    def batch_size(self) -> int | None:
        """The batch size, where a record or a name says it."""
        if self.speed:
            return self.speed.batch_size
        assert self.score is not None
        links = ("details", "chain", "dumps", "settings", "batch_size")
        return chain.field(self.score.made, int, *links) or self.score.batch_size

    @property
    def made(self) -> Json:
        """The record of the run that was timed, else an empty one."""
        return self.speed.made if self.speed else {}

    @property
    def latencies_ms(self) -> list[float]:
        """The latency of each timed call."""
        found = chain.field(self.made, list, "details", "latencies_us") or []
        numbers = (value for value in found if isinstance(value, int | float))
        return [value / 1000 for value in numbers if 0 <= value <= _MOST_US]

    def link(self, *keys: str | int) -> Json:
        """Return what the records keep of an input of this run: `model`, `info`, `folders`, 0."""
        for made in (self.made, self.score.made if self.score else {}):
            if found := chain.field(made, dict, "details", "chain", *keys):
                return found
        return {}


@dataclass(frozen=True)
class Work:
    """A work folder: its runs by batch size, its stages' records by their time."""

    folder: Path
    runs: tuple[Run, ...]
    stages: tuple[tuple[str, Json], ...]  # what was made, relative to the folder; its record
    doubts: tuple[str, ...]

    @property
    def best_scored(self) -> Run | None:
        """The first run whose score can be looked into image by image."""
        return next((r for r in self.runs if r.score and r.score.dumps and r.score.labels), None)

    def made_by(self, stage: str) -> Json | None:
        """Return the record of the last run of a stage that ended."""
        found = [made for _, made in self.stages if made["stage"] == stage]
        return found[-1] if found else None


def read(folder: Path) -> Work:
    """Return what lies in a work folder.

    PipelineError where it is no folder, or holds neither a score nor a speed.
    """
    if not folder.is_dir():
        raise PipelineError(f"{folder} is no folder", "give the one that run_all.sh worked in")
    doubts: list[str] = []
    stages = tuple(_stages(folder, doubts))
    scores = [found for path, batch in _named(folder, _SCORE) if (found := _score(path, batch))]
    chips = _chips(stages)
    timed = []
    for path, batch in _named(folder, _SPEED):
        try:
            timed.append(_speed(path, int(batch), chips))
        except (PipelineError, ValueError) as error:
            doubts.append(f"{path.relative_to(folder)} is left out: {error}")
    runs = sorted(_pair(scores, timed), key=lambda run: (run.batch_size or 1 << 31, _file(run)))
    if not runs:
        raise PipelineError(
            f"{folder} holds neither a score (result*.json) nor a speed (perf_*.txt)",
            "give the folder that run_all.sh worked in, or score and measure there first",
        )
    return Work(folder, tuple(runs), stages, tuple(doubts))


def opened(path: object, made: Json, folder: Path) -> Path | None:
    """Return where a path out of the record `made` is now, or None where it is nowhere.

    A relative one is looked for in `folder` first, since work folders are moved and copied, and
    then where the command was typed.
    """
    if not isinstance(path, str) or not path:
        return None
    for base in (folder, Path(str(made.get("folder") or folder))):
        try:
            if (place := base / path).exists():
                return place
        except (OSError, ValueError):  # a name that no file can have
            continue
    return None


def _file(run: Run) -> str:
    return str(run.score.file if run.score else run.speed.file if run.speed else "")


def _named(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, str]]:
    """Yield the files whose name the pattern matches whole, and the batch size in it, or ''."""
    for place in _PLACES:
        if (folder / place).is_dir():
            for path in sorted((folder / place).iterdir()):
                match = pattern.fullmatch(path.name)
                if match and path.is_file() and not path.name.endswith(record.SUFFIX):
                    yield path, match[1] or ""


def _stages(folder: Path, doubts: list[str]) -> Iterator[tuple[str, Json]]:
    """Yield name and record of what the stages have made, by the time of their start."""
    found = []
    for pattern in _RECORDS_DEEP:
        for place in sorted(folder.glob(pattern + record.SUFFIX)):
            output = place.with_name(place.name.removesuffix(record.SUFFIX))
            try:
                if made := record.load(output):
                    found.append((str(output.relative_to(folder)), made))
            except (PipelineError, OSError) as error:
                doubts.append(str(error))
    yield from sorted(found, key=lambda one: _started(one[1]))


def _started(made: Json) -> float:
    found = made.get("started_unix_s")
    return float(found) if isinstance(found, int | float) else 0.0


def _chips(stages: Sequence[tuple[str, Json]]) -> int | None:
    """Return how many chips the card has that atc converted for; None where it did not."""
    names = [chain.field(made, str, "settings", "soc_version") for _, made in stages]
    found = [npu_smi.chips_per_card(name) for name in names if name]
    return found[-1] if found else None


def _score(path: Path, batch: str) -> Score | None:
    """Return the score in a file, or None where it is another kind of JSON file."""
    try:
        found = result.from_text(text.read(path, "score anew", _MOST_BYTES).decode())
    except ValueError:
        return None
    made = _record_of(path)
    folder = path.parent if path.parent.name != "result" else path.parent.parent
    dumps = opened(chain.field(made, str, "inputs", 0, "path"), made, folder)
    labels = opened(chain.field(made, str, "inputs", 1, "path"), made, folder)
    # A card's runs take turns in one folder, and what lies there is of the last one.
    if dumps and not _is_still(dumps, chain.field(made, dict, "inputs", 0) or {}):
        dumps = None
    if labels and not _is_still(labels, chain.field(made, dict, "inputs", 1) or {}):
        labels = None
    return Score(path, int(batch) if batch else None, found, made, dumps, labels)


def _is_still(path: Path, entry: Json) -> bool:
    """Say whether a file or folder is what a record has of it, whatever it was called there."""
    try:
        return identity.is_unchanged(entry | {"path": str(path)})
    except (OSError, TypeError):
        return False


def _speed(path: Path, batch: int, chips: int | None) -> Speed:
    """Return the speed in a file; PipelineError or ValueError where it holds none."""
    row = speeds.read(path, None)
    figures: perf.DatasetPerf | perf.PurePerf | None = None
    if path.suffix == ".txt":
        figures = perf.from_text(text.read(path, "measure anew", _MOST_BYTES).decode())
    if isinstance(figures, perf.PurePerf):
        raise ValueError("it holds a pure inference run")
    name = perf.split_name(path.name)
    several = len(name.devices) if name else 0
    count = several or row.chips
    if chips is not None and count != 1 and not several:
        count = chips  # of the card that was converted for
    # The file of several devices has their sum.
    chip_rate = row.interface_rate / (several or 1)
    return Speed(
        file=path,
        batch_size=batch,
        chip_rate=chip_rate,
        chips=count,
        card_rate=chip_rate * count,
        e2e_rate=row.e2e_rate,
        perf=figures,
        verdict=row.verdict,
        because=row.verdict_because,
        made=_record_of(path),
    )


def _record_of(path: Path) -> Json:
    """Return the record of the run that wrote just this file; an empty one where there is none."""
    try:
        made = record.load(path)
    except PipelineError:
        return {}  # `_stages` says so
    digest = identity.file_digest(path)
    vouched = made and any(entry.get("sha256") == digest for entry in made["outputs"])
    return made if made and vouched else {}


def _pair(scores: Sequence[Score], timed: Sequence[Speed]) -> Iterator[Run]:
    """Yield each run once, with its score and its speed so far as they are of one run."""
    left = list(timed)
    for score in scores:
        speed = _speed_of(score, left, len(scores) == 1)
        if speed:
            left.remove(speed)
        yield Run(score, speed)
    for speed in left:
        yield Run(None, speed)


def _speed_of(score: Score, left: Sequence[Speed], only: bool) -> Speed | None:
    scored = chain.field(score.made, str, "inputs", 0, "listing_sha256")
    unsure = []
    for speed in left:
        timed = chain.field(speed.made, str, "outputs", 0, "listing_sha256")
        if scored and timed:
            if scored == timed:
                return speed
        else:
            unsure.append(speed)
    if only and len(left) == 1:
        return unsure[0] if unsure else None
    fitting = [speed for speed in unsure if speed.batch_size == score.batch_size]
    return fitting[0] if len(fitting) == 1 else None
