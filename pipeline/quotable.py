"""May a speed figure be quoted? From the facts of a run: QUOTABLE, or SMOKE and what to change.

The verdict is on the rate; percentiles of the calls' latencies stand beside it as far as there are
calls enough for each (`pipeline.percentiles`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import percentiles

QUOTABLE, SMOKE, UNKNOWN = "QUOTABLE", "SMOKE", "unknown"

# Ten seconds are a thousand of the ticks that the kernel counts processor time in (proc(5)), and a
# hundred of the periods that a cgroup's quota is given out in (the kernel's sched-bwc).
LEAST_SECONDS = 10.0
LEAST_CALLS = 64  # as many as a p90 takes
PARTS = 5
# What the compliance tests of the same rules allow the speeds of two runs to differ.
MOST_SPREAD = 0.10
# Our own choice: half of that, so that what disturbs a run is named before it can fill the spread.
MOST_OTHERS = 0.05
MOST_THROTTLED = 0.05
MOST_SLOWDOWN = 0.10  # of the processor's frequency; it moves the rate by as much

_NS_PER_S = 1e9

Json = dict[str, Any]


@dataclass(frozen=True)
class Timed:
    """What was timed; times are of one monotonic clock, in ns.

    `more_calls` and `more_seconds` tell the user how to get more of them.
    """

    calls_ns: Sequence[int]  # latency of each call
    start_ns: int  # of the first call
    ends_ns: Sequence[int]  # of each call, in any order
    requests: int  # calls in flight at a time
    warmup: int  # calls before, of the request that had the fewest
    samples: int  # that were timed
    of_samples: int  # that there are, those of an earlier run included
    more_calls: str
    more_seconds: str

    @property
    def seconds(self) -> float:
        """From the start of the first call to the end of the last one."""
        return max(0, max(self.ends_ns, default=self.start_ns) - self.start_ns) / _NS_PER_S


@dataclass(frozen=True)
class Conditions:
    """What the machine was like meanwhile; None where the system does not tell."""

    others: float | None = None  # share of the usable cores that went to other processes
    throttled: float | None = None  # share of the periods in which a cgroup's quota ran out
    heat: int | None = None  # times that the processor throttled itself
    mhz: tuple[float, float] | None = None  # of the fastest usable core, before and after

    def to_json(self) -> Json:
        """Return them for a record, where None is the word unknown."""
        found = {
            "others_share_of_cores": _rounded(self.others),
            "throttled_share_of_quota_periods": _rounded(self.throttled),
            "thermal_throttle_events": self.heat,
            "frequency_mhz_before_and_after": list(self.mhz) if self.mhz else None,
        }
        return {key: UNKNOWN if value is None else value for key, value in found.items()}


@dataclass(frozen=True)
class Check:
    """What a check of the run came to; `good` is None where it was not made, as `text` says."""

    good: bool | None
    text: str

    def to_json(self) -> Json:
        """Return it for a record."""
        states = {True: "good", False: "bad", None: "not checked"}
        return {"state": states[self.good], "text": self.text}


@dataclass(frozen=True)
class Verdict:
    """QUOTABLE where there are no `reasons` against it, else SMOKE."""

    timed: Timed
    conditions: Conditions
    reasons: tuple[str, ...]
    checks: Mapping[str, Check] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """QUOTABLE or SMOKE."""
        return SMOKE if self.reasons else QUOTABLE

    def to_json(self) -> Json:
        """Return the verdict and all that it rests on, for a record."""
        timed = self.timed
        rates = part_rates(timed)
        return {
            "verdict": self.word,
            "reasons": list(self.reasons),
            "calls": len(timed.calls_ns),
            "seconds": round(timed.seconds, 6),
            "requests": timed.requests,
            "warmup_calls_per_request": timed.warmup,
            "samples_timed": timed.samples,
            "samples": timed.of_samples,
            "latency_ms_per_call": percentiles.of(timed.calls_ns),
            "part_rates_calls_per_s": [round(rate, 6) for rate in rates],
            "spread": round(spread(rates), 6) if rates else UNKNOWN,
            **self.conditions.to_json(),
            "self_checks": {name: check.to_json() for name, check in self.checks.items()},
        }

    def lines(self) -> list[str]:
        """Return what the user reads: the verdict, and the percentiles with their count."""
        timed = self.timed
        said = "; ".join(self.reasons)
        if not self.reasons:
            said = f"{len(timed.calls_ns)} calls in {timed.seconds:.1f} s"
            said += f", the rates of {PARTS} parts within {spread(part_rates(timed)):.1%}"
            if self.conditions.others is not None:
                said += f", {self.conditions.others:.1%} of the cores with others"
            skipped = [check.text for check in self.checks.values() if check.good is None]
            said += "".join(f"; not checked: {text}" for text in skipped)
        return [f"{self.word}: {said}", f"latency of a call: {percentiles.say(timed.calls_ns)}"]


def judge(
    timed: Timed, conditions: Conditions, checks: Mapping[str, Check] | None = None
) -> Verdict:
    """Return the verdict on a run; a check that is not made speaks neither for nor against it."""
    reasons = [*_shortcomings(timed), *_disturbances(timed, conditions)]
    made = dict(checks or {})
    reasons += [check.text for check in made.values() if check.good is False]
    return Verdict(timed, conditions, tuple(reasons), made)


def _shortcomings(timed: Timed) -> list[str]:
    """Return what the run itself lacks."""
    found = []
    calls, seconds = len(timed.calls_ns), timed.seconds
    if timed.samples < timed.of_samples:
        found.append(
            f"{timed.samples} of {timed.of_samples} samples were timed, the others in an earlier"
            " run: measure anew with -force"
        )
    if timed.warmup < 1:
        found.append("not every request was warmed up: give -warmup=1 or more")
    if calls < LEAST_CALLS:
        were = "call was" if calls == 1 else "calls were"
        found.append(f"{calls} {were} timed and {LEAST_CALLS} are needed: {timed.more_calls}")
    if seconds < LEAST_SECONDS:
        # Rounded down, so that 9.9996 s are not said to be 10.
        shown = math.floor(seconds * 100) / 100
        found.append(
            f"{shown:g} s were timed and {LEAST_SECONDS:g} are needed: {timed.more_seconds}"
        )
    return found


def _disturbances(timed: Timed, conditions: Conditions) -> list[str]:
    """Return what disturbed it."""
    found = []
    # Parts of few calls differ by chance, and that there are few is said already.
    rates = part_rates(timed) if len(timed.calls_ns) >= LEAST_CALLS else []
    if rates and spread(rates) > MOST_SPREAD:
        found.append(
            f"the rates of {PARTS} parts of the run differ by {spread(rates):.1%} and"
            f" {MOST_SPREAD:.0%} is the limit: run again on a quiet machine"
        )
    if conditions.others is not None and conditions.others > MOST_OTHERS:
        found.append(
            f"other processes took {conditions.others:.1%} of the cores and {MOST_OTHERS:.0%} is"
            " the limit: stop them"
        )
    if conditions.throttled is not None and conditions.throttled > MOST_THROTTLED:
        found.append(
            f"the cgroup's quota ran out in {conditions.throttled:.1%} of its periods and"
            f" {MOST_THROTTLED:.0%} is the limit: give fewer -threads or raise the quota"
        )
    if conditions.heat:
        times = "once" if conditions.heat == 1 else f"{conditions.heat} times"
        found.append(f"the processor throttled itself {times}: cool it")
    if conditions.mhz is not None:
        before, after = conditions.mhz
        if after < before * (1 - MOST_SLOWDOWN):
            found.append(
                f"the processor slowed down from {before:.0f} to {after:.0f} MHz: cool it, or fix"
                " its frequency"
            )
    return found


def part_rates(timed: Timed) -> list[float]:
    """Return the rates of consecutive parts of the run, in calls/s; none where calls are too few.

    The parts have the same number of calls, in the order in which these ended, and whole rounds of
    the requests in flight. What remains at the end is left out.
    """
    ends = sorted(timed.ends_ns)
    size = len(ends) // PARTS
    size -= size % timed.requests
    if not size:
        return []
    edges = [timed.start_ns, *ends[size - 1 : PARTS * size : size]]
    return [size / max(1, end - start) * _NS_PER_S for start, end in itertools.pairwise(edges)]


def spread(rates: Sequence[float]) -> float:
    """Return by how much the greatest of some rates lies above the smallest."""
    return max(rates) / min(rates) - 1


def of_record(details: object) -> tuple[str, tuple[str, ...]]:
    """Return the verdict that stands in a record's `details`, and its reasons.

    It is unknown where the record is none of this version's.
    """
    stated = details.get("quotable") if isinstance(details, dict) else None
    if isinstance(stated, dict) and stated.get("verdict") in (QUOTABLE, SMOKE):
        reasons = stated.get("reasons")
        return stated["verdict"], tuple(map(str, reasons)) if isinstance(reasons, list) else ()
    return UNKNOWN, ("its record does not say",)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
