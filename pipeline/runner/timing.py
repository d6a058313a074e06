"""What the runner measures, and the figures of a perf file made of it.

The names are the benchmark tool's; what they mean is partly documented and partly deduced from
some 180 published files, whose figures hold together only so:

- `[e2e]`: samples by the time from the first sample in to the last sample out, and that time, in
  ms (documented: rate x latency / 1000 = samples).
- `[data read]`, `[preprocess]`: samples by the time from that module's first start to its last
  end; `moduleLatency` is its reciprocal (deduced: the product is 1000 in every file).
- `[infer] throughputRate`: the same for the inference module.
- `[infer] Interface throughputRate`: samples by the time in which at least one execute call was
  under way (documented for one call at a time: samples / sum of execute times; for several in
  flight the union is its only reading that stays a rate).
- `[infer] moduleLatency`: mean time of an inference call, with input hand-over and output copies,
  by the batch size (deduced: it lies above 1000 / Interface rate by about the copies' time).
- `[post]`: as `[data read]`, but counted per batch (deduced: the ratio of the inference and the
  post rate is samples / batches).

Samples are real ones; what fills the last batch is not counted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.perf import DatasetPerf, PurePerf
from pipeline.quotable import LEAST_CALLS, LEAST_SECONDS, Timed

MOST_ROUNDS = 1024  # that the benchmark tool takes

Interval = tuple[int, int]  # start and end, time.perf_counter_ns
_NS_PER_S = 1e9
_NS_PER_MS = 1e6


class Call(NamedTuple):
    """One batch: the request that ran it, its real samples, start and end of the call in ns."""

    request: int
    samples: int
    start: int
    end: int


class Span:
    """When a module first started and last ended, and how long it was busy, in ns."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.last = 0
        self.busy = 0

    def add(self, start: int, end: int) -> None:
        """Count one piece of work of one thread; the pieces of a thread come in order."""
        if self.first is None:
            self.first = start
        self.last = end
        self.busy += end - start

    @property
    def length_ns(self) -> int:
        """From the first start to the last end; at least 1, so that it may divide."""
        return max(1, self.last - (self.first or 0))

    @staticmethod
    def merged(spans: Iterable[Span]) -> Span:
        """Return one span of a module whose threads kept one each."""
        whole = Span()
        for span in spans:
            if span.first is not None:
                whole.first = span.first if whole.first is None else min(whole.first, span.first)
                whole.last = max(whole.last, span.last)
                whole.busy += span.busy
        return whole


@dataclass(frozen=True)
class Measured:
    """One run over a data set; `executes`, `calls_ns` and `ran` have one entry per batch."""

    samples: int
    batch_size: int
    read: Span
    prepare: Span
    infer: Span
    post: Span
    executes: Sequence[Interval]
    calls_ns: Sequence[int]
    ran: Sequence[Call] = ()

    @property
    def end_to_end_ns(self) -> int:
        """From the first sample in to the last sample out."""
        return max(1, self.post.last - (self.read.first or 0))

    def busy_s(self) -> dict[str, float]:
        """Return how long each module worked, all its threads together, in seconds."""
        spans = {"read": self.read, "prepare": self.prepare, "infer": self.infer, "post": self.post}
        return {name: round(span.busy / _NS_PER_S, 6) for name, span in spans.items()}


def covered_ns(intervals: Iterable[Interval]) -> int:
    """Return the length of the union of `intervals`."""
    total, reached = 0, -math.inf
    for start, end in sorted(intervals):
        if end > reached:
            total += end - int(max(start, reached))
            reached = end
    return total


def dataset_perf(measured: Measured) -> DatasetPerf:
    """Return the figures of a run, as the module's docstring defines them."""
    samples, batches = measured.samples, len(measured.calls_ns)
    read = samples / measured.read.length_ns * _NS_PER_S
    prepare = samples / measured.prepare.length_ns * _NS_PER_S
    post = batches / measured.post.length_ns * _NS_PER_S
    mean_call_ns = math.fsum(measured.calls_ns) / batches
    return DatasetPerf(
        e2e_rate=samples / measured.end_to_end_ns * _NS_PER_S,
        e2e_latency_ms=measured.end_to_end_ns / _NS_PER_MS,
        read_rate=read,
        read_latency_ms=1000 / read,
        preprocess_rate=prepare,
        preprocess_latency_ms=1000 / prepare,
        infer_rate=samples / measured.infer.length_ns * _NS_PER_S,
        interface_rate=samples / max(1, covered_ns(measured.executes)) * _NS_PER_S,
        infer_latency_ms=mean_call_ns / measured.batch_size / _NS_PER_MS,
        post_rate=post,
        post_latency_ms=1000 / post,
    )


def pure_perf(rounds_ns: Sequence[int], batch_size: int) -> PurePerf:
    """Return the figures of rounds of one batch each.

    Means over the rounds of rate and of latency, each by itself (deduced: in published files
    rate x latency / 1000 lies between 1 and 1.04, as the mean of reciprocals does).
    """
    rates = [batch_size / max(1, ns) * _NS_PER_S for ns in rounds_ns]
    return PurePerf(
        rate=math.fsum(rates) / len(rates),
        latency_ms=math.fsum(rounds_ns) / len(rounds_ns) / batch_size / _NS_PER_MS,
    )


def dataset_timed(measured: Measured, requests: int, warmup: int, of_samples: int) -> Timed:
    """Return what a verdict on a data-set run rests on.

    `warmup` is what each request was asked to run before; the first call of all, alone, is one
    more. `of_samples` are there, those of an interrupted run included.
    """
    return Timed(
        calls_ns=measured.calls_ns,
        start_ns=min((start for start, _ in measured.executes), default=0),
        ends_ns=[end for _, end in measured.executes],
        requests=requests,
        warmup=max(warmup, 1) if requests == 1 else warmup,
        samples=measured.samples,
        of_samples=of_samples,
        more_calls="give more samples or a smaller batch",
        more_seconds="give more samples",
    )


def pure_timed(rounds_ns: Sequence[int], warmup: int) -> Timed:
    """Return what a verdict on rounds of one batch rests on; one call is in flight at a time."""
    seconds = sum(rounds_ns) / _NS_PER_S
    enough = math.ceil(len(rounds_ns) * LEAST_SECONDS / max(seconds, 1e-9))
    longer = f"give -round={enough} or more" if enough <= MOST_ROUNDS else "give a larger batch"
    return Timed(
        calls_ns=rounds_ns,
        start_ns=0,
        ends_ns=list(itertools.accumulate(rounds_ns)),
        requests=1,
        warmup=max(warmup, 1),
        samples=len(rounds_ns),
        of_samples=len(rounds_ns),
        more_calls=f"give -round={LEAST_CALLS} or more",
        more_seconds=longer,
    )
