"""All that a report says, as plain data: the page and the files beside it are made of this alone.

Units are in the names. Names of files are relative to the work folder and escaped to one line.
What cannot be told is None or empty, and `absent` then says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.report.words import Text

SCHEMA = 1

GOOD, BAD, WARNING, NEUTRAL = "good", "bad", "warning", "neutral"


@dataclass(frozen=True)
class Verdict:
    """One verdict: its state (GOOD, BAD, WARNING, NEUTRAL), its word, a figure and the grounds."""

    subject: str  # accuracy, speed, quotable, chain or images
    state: str
    word: Text
    figure: str
    caption: Text  # what the figure is
    because: tuple[Text, ...]


@dataclass(frozen=True)
class Top:
    """The share of images whose label is among the first `places` answers, with its interval."""

    places: int
    percent: float
    low_percent: float  # of the 95 % interval (Wilson)
    high_percent: float


@dataclass(frozen=True)
class Run:
    """One run over the images; what was not done is None or empty."""

    name: Text
    on_card: bool | None  # None where no record tells
    batch_size: int | None
    images: int | None
    classes: int | None
    top: tuple[Top, ...]
    engine: str
    precision: str
    threads: int | None
    requests: int | None
    chip_images_per_s: float | None  # the model alone, of one chip or processor
    chips: int | None  # that the card's rate is reckoned with
    card_images_per_s: float | None
    end_to_end_images_per_s: float | None
    verdict: str  # QUOTABLE, SMOKE, unknown; empty where no speed was measured
    because: tuple[Text, ...]
    result_file: str
    speed_file: str
    dumps: str


@dataclass(frozen=True)
class Part:
    """A part of a stage's time: `load`, `timed` or `rest`."""

    kind: str
    seconds: float


@dataclass(frozen=True)
class Stage:
    """One stage that ran to its end."""

    title: Text
    output: str
    seconds: float
    parts: tuple[Part, ...]
    peak_process_bytes: int | None
    peak_child_bytes: int | None  # of the largest of its processes


@dataclass(frozen=True)
class Busy:
    """How long each activity of a timed run was busy; several are so at a time."""

    run: Text
    end_to_end_s: float
    read_s: float
    prepare_s: float
    infer_s: float
    write_s: float

    @property
    def shares(self) -> tuple[tuple[str, float, float], ...]:
        """Name, seconds and percent of the sum, of each activity."""
        found = {
            "read": self.read_s,
            "prepare": self.prepare_s,
            "infer": self.infer_s,
            "write": self.write_s,
        }
        total = sum(found.values()) or 1.0
        return tuple((name, value, 100 * value / total) for name, value in found.items())


@dataclass(frozen=True)
class Percentile:
    """A bound on a percentile, or how many calls it takes to have one."""

    name: str
    at_most_ms: float | None
    needs_calls: int | None


@dataclass(frozen=True)
class Latency:
    """How long the calls of a run took; `counts[i]` calls lie between edges i and i + 1."""

    run: Text
    calls: int
    requests: int | None  # in flight at a time
    least_ms: float
    greatest_ms: float
    edges_ms: tuple[float, ...]
    counts: tuple[int, ...]
    percentiles: tuple[Percentile, ...]


@dataclass(frozen=True)
class Class:
    """The images of one class."""

    label: int
    name: str
    images: int
    right: int
    right_top5: int
    top1_percent: float
    top5_percent: float
    taken_for: str  # the most frequent wrong answer; empty where there is none
    taken_for_images: int


@dataclass(frozen=True)
class Confusion:
    """Images of one class that were all taken for another."""

    label: int
    name: str
    answer: int
    answer_name: str
    images: int
    percent: float  # of the label's images
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Guess:
    """One of the best classes of an image."""

    label: int
    name: str
    probability: float | None


@dataclass(frozen=True)
class Wrong:
    """An image whose best class is not its label; `rank` is the label's place, from 1."""

    image: str
    label: int
    name: str
    rank: int
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Matrix:
    """Shares of answers in percent of a label's images; the last column is all other answers."""

    labels: tuple[str, ...]
    percent: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class PerClass:
    """What the answers of one run say of the classes.

    Classes are sorted by accuracy, confusions by count, wrong images by confidence.
    """

    run: Text
    images: int
    wrong_images: int
    classes: tuple[Class, ...]
    confusions: tuple[Confusion, ...]
    wrong: tuple[Wrong, ...]
    matrix: Matrix | None
    names_from: Text


@dataclass(frozen=True)
class Fact:
    """A line of what ran."""

    what: Text
    value: str
    note: Text | None = None


@dataclass(frozen=True)
class Ran:
    """What ran, and how to run it again."""

    facts: tuple[Fact, ...]
    versions: Mapping[str, str]
    folder: str
    commands: tuple[str, ...]
    files: tuple[Fact, ...]


@dataclass(frozen=True)
class Report:
    """All of it; `absent` says for each part that cannot be shown why."""

    name: str
    made_utc: str  # when the last stage began; empty where no record says
    subtitle: Text
    verdicts: tuple[Verdict, ...]
    remarks: tuple[Text, ...]
    runs: tuple[Run, ...]
    meaning: Text | None  # of an accuracy on the sample
    on_card: bool | None  # None where no record says on what the runs were
    stages: tuple[Stage, ...]
    busy: tuple[Busy, ...]
    latencies: tuple[Latency, ...]
    per_class: PerClass | None
    ran: Ran
    absent: Mapping[str, Text]
    schema: int = SCHEMA


@dataclass(frozen=True)
class Picture:
    """A wrong image as the model saw it, as a JPEG file, or why there is none."""

    wrong: Wrong
    file: str
    jpeg: bytes | None
    why: Text | None
