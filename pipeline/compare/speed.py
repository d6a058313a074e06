"""The speeds of two runs beside each other, and how far their ratio is to be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline import chain, percentiles, quotable
from pipeline.compare import settings
from pipeline.compare.sides import Pair
from pipeline.work_dir import Run, Speed

_NS_PER_MS = 1e6


@dataclass(frozen=True)
class Speeds:
    """Two runs that were both timed."""

    pair: Pair
    base: Speed
    other: Speed

    @property
    def ratio(self) -> Fraction | None:
        """Interface rate of one chip, other by base, as exact as the files have it."""
        return _ratio(self.base.chip_rate, self.other.chip_rate)

    @property
    def e2e_ratio(self) -> Fraction | None:
        """End-to-end rate, other by base; None where one was not measured."""
        if self.base.e2e_rate is None or self.other.e2e_rate is None:
            return None
        return _ratio(self.base.e2e_rate, self.other.e2e_rate)

    @property
    def slowdown_percent(self) -> Fraction | None:
        """By how much the Interface rate fell, in percent of the base's; negative where it rose."""
        return None if self.ratio is None else 100 * (1 - self.ratio)

    @property
    def doubts(self) -> list[str]:
        """Say why the ratio is a hint only; empty where it is more than that."""
        found = []
        verdicts = {self.base.verdict, self.other.verdict} - {quotable.QUOTABLE}
        if verdicts:
            found.append(" and ".join(sorted(verdicts)))
        machines = settings.machine_of(self.pair.base), settings.machine_of(self.pair.other)
        if not all(machines):
            found.append("the machine is not known")
        elif machines[0] != machines[1]:
            found.append("other machine")
        sizes = self.pair.batch_sizes
        if sizes[0] != sizes[1]:
            found.append("other batch size")
        if self.base.chips != self.other.chips:
            found.append(f"one chip of {self.base.chips} and of {self.other.chips}")
        return found


def compare(pairs: Sequence[Pair]) -> list[Speeds]:
    """Return the speeds of these runs, all of which were timed."""
    return [
        Speeds(pair, pair.base.speed, pair.other.speed)
        for pair in pairs
        if pair.base.speed and pair.other.speed
    ]


def latency_ms(run: Run, percentile: str) -> float | None:
    """Return the bound of a percentile, as in `p90`, of a call's latency; None without enough."""
    found = percentiles.of([round(value * _NS_PER_MS) for value in run.latencies_ms])
    return chain.field(found, float, percentile, "at_most_ms")


def peak_memory_bytes(run: Run) -> int | None:
    """Return the most memory that a process of the run had in use; None where nothing tells.

    A card's tool is a child of the process that keeps the record.
    """
    found = (
        chain.field(run.made, int, "peak_memory_bytes", k) for k in ("process", "largest_child")
    )
    return max((size for size in found if size is not None), default=None)


def _ratio(base: float, other: float) -> Fraction | None:
    # A figure of a file stands for the decimal number that was written, and a limit is held
    # against just that.
    return Fraction(repr(other)) / Fraction(repr(base)) if base else None
