"""Tables of whole commands: processor time, wall time and peak memory, each beside one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import harness, stats
from benchmarks.harness import Command, Figures, Gate, Visit
from benchmarks.table import Column, Part
from pipeline import progress

SAMPLE_S = 0.05
PATIENCE_PER_VARIANT = 2
# What a check may find out: the rate of the work alone, without the start of the process.
INNER_RATE = "inner_rate"


@dataclass(frozen=True)
class Variant:
    """Commands, run one after the other, that do the work.

    `prepare` runs before each visit and `check` after it, both outside the measured time. `check`
    raises where what was made is wrong; it may return further figures.
    """

    name: str
    commands: Sequence[Command]
    prepare: Callable[[], None]
    check: Callable[[], Figures]


@dataclass(frozen=True)
class Plan:
    """How a part is measured: `count` pieces of work, called `unit`, `rounds` times.

    `base` is the variant that ratios are made with. With `gain` they say how many times less than
    the base a variant takes, without it how many times more.
    """

    unit: str
    count: int
    base: str
    base_title: str
    rounds: int
    quick: bool
    gain: bool = False

    def columns(self) -> list[Column]:
        """Return the columns of such a part."""
        ratio = "{}, gain over " if self.gain else "{} / "
        ratio += self.base_title
        return [
            Column("cpu_s", "CPU time", ".2f", " s"),
            Column("wall_s", "wall time", ".2f", " s"),
            Column("rate", f"{self.unit}/s", ".0f"),
            Column(INNER_RATE, f"{self.unit}/s, start-up apart", ".0f"),
            Column("peak_mb", f"peak memory ({harness.memory_kind()})", ".0f", " MB"),
            Column("cpu_ratio", ratio.format("CPU time"), ".2f", "x"),
            Column("wall_ratio", ratio.format("wall time"), ".2f", "x"),
            Column("peak_ratio", ratio.format("memory"), ".2f", "x"),
        ]


def measure(part: Part, variants: Sequence[Variant], plan: Plan) -> None:
    """Measure `variants` and fill `part`.

    Memory is sampled in a run of its own before the timed rounds, which warms the caches as well;
    a quick look samples it in its one round.
    """
    gate = Gate(0 if plan.quick else PATIENCE_PER_VARIANT * len(variants))
    memory: dict[str, Visit] = {}
    if not plan.quick:
        progress.note(f"{part.title}: one run each for memory and as a warm-up")
        memory = {variant.name: visit(variant, SAMPLE_S) for variant in variants}
    every = SAMPLE_S if plan.quick else 0.0
    calls = {v.name: (lambda v=v: visit(v, every)) for v in variants}
    visits = harness.interleave(calls, 1 if plan.quick else plan.rounds, gate, part.title)
    if plan.quick:
        memory = {name: seen[0] for name, seen in visits.items()}
    fill(part, visits, memory, plan)
    part.rounds = {
        "gate": gate.to_json(),
        "memory": {name: visit.to_json() for name, visit in memory.items()},
        "visits": {name: [v.to_json() for v in seen] for name, seen in visits.items()},
    }
    part.notes.append(_method(plan, gate))


def fill(
    part: Part, visits: Mapping[str, Sequence[Visit]], memory: Mapping[str, Visit], plan: Plan
) -> None:
    """Add a row per variant to `part`; ratios of times are of one round each."""
    for name, seen in visits.items():
        cells: dict[str, stats.Spread | float] = {}
        for figure in ("cpu_s", "wall_s"):
            mine = harness.column(seen, figure)
            base = harness.column(visits[plan.base], figure)
            cells[figure] = stats.spread(mine)
            better = "less" if plan.gain else "more"
            ratios = stats.ratios(mine, base, better)
            cells[figure.removesuffix("_s") + "_ratio"] = stats.spread(ratios)
        cells["rate"] = stats.spread([plan.count / s for s in harness.column(seen, "wall_s")])
        if INNER_RATE in seen[0].figures:
            cells[INNER_RATE] = stats.spread(harness.column(seen, INNER_RATE))
        peaks = memory[name].figures["peak_bytes"], memory[plan.base].figures["peak_bytes"]
        cells["peak_mb"] = peaks[0] / 1e6
        cells["peak_ratio"] = peaks[1] / peaks[0] if plan.gain else peaks[0] / peaks[1]
        part.add(name, **cells)


def nothing() -> None:
    """Do nothing, where nothing is to be prepared."""


def visit(variant: Variant, memory_every_s: float) -> Visit:
    """Run a variant once, check what it made, and return what it took."""
    variant.prepare()
    parts = [harness.run(command, memory_every_s) for command in variant.commands]
    seen = together(parts)
    return dataclasses.replace(seen, figures=seen.figures | variant.check())


def together(parts: Sequence[Visit]) -> Visit:
    """Return one visit of several in a row: times add up, of memory the greatest counts."""
    figures = {
        name: (max if name == "peak_bytes" else sum)(part.figures[name] for part in parts)
        for name in parts[0].figures
    }
    known = [(p.others, p.figures["wall_s"]) for p in parts if p.others is not None]
    if not known:
        return Visit(figures, None)
    return Visit(figures, sum(share * wall for share, wall in known) / sum(w for _, w in known))


def _method(plan: Plan, gate: Gate) -> str:
    if plan.quick:
        return "One round; memory was sampled in it, which costs some time."
    return (
        f"Median (least-greatest) of {plan.rounds} interleaved rounds; ratios are of one round"
        " each. CPU time is user and system time of all processes together. Memory is"
        f" {harness.memory_kind()}, summed over all processes, read every {SAMPLE_S * 1000:.0f} ms"
        f" in a run of its own. {gate.sentence()}"
    )
