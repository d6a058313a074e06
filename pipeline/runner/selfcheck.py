"""Checks of a run by itself, after the timed region, so that a rate is one of real work.

- answers: some batches, drawn with a seed, once more and one at a time; the answers must be those
  that were given while many were in flight.
- repetition: one batch again and again, against batches that the engine has never seen, in turns;
  it must not be faster by more than 10 %, or 20 % where a call takes less than 1 ms, twice.

Source of both and of the two limits: the compliance tests 01 and 04 of the MLPerf inference
benchmark. They are bounded in time: half a second, or a twentieth of the timed region where that is
more. Only where nothing else speaks against the rate may the least that they need take longer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines import CONVERTED, Session
from pipeline.errors import PipelineError
from pipeline.formats import dump
from pipeline.quotable import Check, Timed
from pipeline.runner import loading, sinks
from pipeline.runner.flow import Batch, Source

TINY_S = 1.0  # a timed region shorter than this is not worth a check
MOST_S = 0.5
MOST_SHARE = 0.05
MOST_BATCHES = 3
LEAST_PAIRS, MOST_PAIRS = 4, 20
SHORT_NS = 1_000_000
MOST_FASTER, MOST_FASTER_SHORT = 0.10, 0.20
MOST_SLOWER = 0.1  # of the pairs, where one batch repeated is said to be faster

# The engines promise no equal bits: the order of their sums is their own. By the greatest magnitude
# of an output: fp32 leaves 1e-4 for that; bf16 has 8 bits, and one step of int8 is a 127th. An om
# may have any of these, and is float16 unless atc is told otherwise.
TOLERANCES = {"fp32": 1e-4, "bf16": 2e-2, "int8": 2e-2, CONVERTED: 2e-2}

Dumped = Callable[[int], Sequence[NDArray[Any]]]  # sample -> its outputs, flat

CHECKS = ("answers", "repetition")

_SEED = 20200225
_NS_PER_S = 1e9
_TOO_SHORT = Check(None, f"anything, for the timed region is shorter than {TINY_S:g} s")


@dataclass(frozen=True)
class Rerun:
    """What it takes to run batches of a data-set run again; `firsts` begin the timed ones."""

    source: Source
    firsts: Sequence[int]
    dumped: Callable[[], Dumped]


def after_dataset(
    session: Session, batch_size: int, again: Rerun, timed: Timed, promising: bool
) -> dict[str, Check]:
    """Check a data-set run; `promising` where nothing else speaks against its rate."""
    if timed.seconds < TINY_S:
        return dict.fromkeys(CHECKS, _TOO_SHORT)
    started = time.perf_counter()
    budget_s = allowance_s(timed.seconds)
    found = _if_memory(lambda: answers(session, again, batch_size, budget_s / 2))
    left_s = budget_s - (time.perf_counter() - started)
    call_ns = sorted(timed.calls_ns)[len(timed.calls_ns) // 2]
    repeated = _if_memory(lambda: repetition(session, batch_size, call_ns, left_s, promising))
    return dict(zip(CHECKS, (found, repeated), strict=True))


def after_rounds(
    session: Session,
    batch_size: int,
    last: Sequence[NDArray[Any]],
    first: Sequence[NDArray[Any]],
    timed: Timed,
    promising: bool,
) -> dict[str, Check]:
    """Check rounds of one batch: the answers of the last one, and those of the first call of all.

    They lie in memory already, so they are compared however short the run was.
    """
    found = same_answers(session.precision, last, first)
    if timed.seconds < TINY_S:
        return dict(zip(CHECKS, (found, _TOO_SHORT), strict=True))
    budget_s = allowance_s(timed.seconds)
    call_ns = sorted(timed.calls_ns)[len(timed.calls_ns) // 2]
    repeated = _if_memory(lambda: repetition(session, batch_size, call_ns, budget_s, promising))
    return dict(zip(CHECKS, (found, repeated), strict=True))


def _if_memory(check: Callable[[], Check]) -> Check:
    """Make a check where there is memory for its batches; the run has been made without them."""
    try:
        return check()
    except MemoryError:
        return Check(None, "more, for memory is short")


def allowance_s(timed_s: float) -> float:
    """Return how long the checks may take together."""
    return max(MOST_S, MOST_SHARE * timed_s)


def dumps_of(folder: Path, form: str, stems: Sequence[str], dtypes: Sequence[Any]) -> Dumped:
    """Return a function that reads what was dumped; `form` and `dtypes` are those of the run.

    It raises OSError or ValueError where a dump is not there or not whole. Text gives float32.
    """
    numbers = range(1, len(dtypes) + 1)
    if form == "npy":
        arrays = [np.load(folder / dump.array_name(k), mmap_mode="r") for k in numbers]
        return lambda sample: [np.ravel(array[sample]) for array in arrays]
    binary = form == "binary"

    def read(sample: int) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = []
        for k, dtype in zip(numbers, dtypes, strict=True):
            data = (folder / dump.dump_name(stems[sample], k, binary)).read_bytes()
            found.append(np.frombuffer(data, dtype) if binary else dump.from_text(data))
        return found

    return read


def answers(session: Session, again: Rerun, batch_size: int, budget_s: float) -> Check:
    """Run some batches again, one at a time, and compare.

    At least one batch is run, and then as many as take no longer than `budget_s` together.
    """
    drawn = random.Random(_SEED).sample(list(again.firsts), min(MOST_BATCHES, len(again.firsts)))
    batch = _empty_batch(session, batch_size)
    started = time.perf_counter()
    samples, worst = 0, 0.0
    try:
        dumped = again.dumped()
        for number, first in enumerate(drawn):
            spent = time.perf_counter() - started
            if number and spent + spent / number > budget_s:
                break
            batch.first, batch.count = first, min(batch_size, len(again.source.names) - first)
            outputs = _infer_again(session, again.source, batch)
            for row in range(batch.count):
                now = [np.ravel(sinks.row_of(output, row, batch_size)) for output in outputs]
                difference = greatest_difference(now, dumped(first + row))
                if not difference <= TOLERANCES[session.precision]:
                    return _differs(again.source.names[first + row], difference)
                worst = max(worst, difference)
            samples += batch.count
    except (PipelineError, OSError, ValueError) as error:
        return Check(False, f"the answers could not be checked: {error}")
    return Check(True, _equal(f"{samples} samples", worst))


def _infer_again(session: Session, source: Source, batch: Batch) -> list[NDArray[Any]]:
    source.read(batch)
    source.prepare(batch)
    batch.tensor[batch.count :] = batch.tensor[0]  # as the timed run fills its last batch
    return session.infer(0, batch.tensor)


def same_answers(precision: str, now: Sequence[Any], then: Sequence[Any]) -> Check:
    """Compare the answers of the last timed call with those of the first call, on one batch."""
    difference = greatest_difference(list(map(np.ravel, now)), list(map(np.ravel, then)))
    if not difference <= TOLERANCES[precision]:
        return _differs("the last batch", difference)
    return Check(True, _equal("the last batch", difference))


def greatest_difference(now: Sequence[NDArray[Any]], then: Sequence[NDArray[Any]]) -> float:
    """Return the greatest difference of two lists of outputs, by the greatest magnitude of each.

    `now` is cast to what `then` was kept in. Infinite where the shapes or the not-a-numbers differ,
    or integers do.
    """
    worst = 0.0
    for one, kept in zip(now, then, strict=True):
        other = one.astype(kept.dtype, copy=False)
        if other.shape != kept.shape:
            return np.inf
        if np.array_equal(other, kept, equal_nan=kept.dtype.kind == "f"):
            continue
        if one.dtype.kind != "f" or not np.array_equal(np.isfinite(other), np.isfinite(kept)):
            return np.inf
        finite = np.isfinite(kept)
        if not np.array_equal(other[~finite], kept[~finite], equal_nan=True):
            return np.inf
        a, b = other[finite].astype(np.float64), kept[finite].astype(np.float64)
        magnitude = np.abs(b).max()
        worst = max(worst, float(np.abs(a - b).max() / magnitude) if magnitude else np.inf)
    return worst


def repetition(
    session: Session, batch_size: int, call_ns: int, budget_s: float, even_if_longer: bool = False
) -> Check:
    """Time one batch repeated against batches never seen before; `call_ns` is about one call.

    Takes at least 2 * LEAST_PAIRS + 1 calls; where that is longer than `budget_s`, nothing is
    checked, unless `even_if_longer`. The least times of each kind are compared, for what disturbs a
    call makes it longer; and on a busy machine chance is told by this, that nine pairs of ten must
    have the repeated one as the faster.
    """
    call_s = max(call_ns, 1) / _NS_PER_S
    if (2 * LEAST_PAIRS + 1) * call_s > budget_s and not even_if_longer:
        return Check(None, "whether one batch repeated is faster, for a call takes too long")
    faster, limit = 0.0, 0.0
    try:
        trial = _Repetition(session, batch_size)
        for _ in range(2):
            times = trial.time(budget_s / 2)
            same_ns, fresh_ns = map(min, zip(*times, strict=True))
            faster = fresh_ns / max(1, same_ns) - 1
            limit = MOST_FASTER_SHORT if fresh_ns < SHORT_NS else MOST_FASTER
            slower = sum(same >= fresh for same, fresh in times)
            pairs = len(times)
            if faster <= limit or slower > MOST_SLOWER * pairs:
                said = f"faster by {faster:.1%}, in {pairs - slower} of {pairs} pairs of calls"
                return Check(True, f"one batch repeated is {said}")
    except PipelineError as error:
        return Check(False, f"the engine failed on random data: {error}")
    return Check(
        False,
        f"the engine seems to remember answers, for one batch repeated is faster by {faster:.1%}"
        f" and {limit:.0%} is the limit: take an engine that computes each time",
    )


class _Repetition:
    """Calls on one batch and on others, from the same memory, so that only the content differs."""

    def __init__(self, session: Session, batch_size: int) -> None:
        self._session, self._batch_size = session, batch_size
        self._seed = _SEED
        self._base = loading.random_batch(session, batch_size, _SEED)
        self._buffer = self._base.copy()
        session.infer(0, self._buffer)

    def time(self, most_s: float) -> list[tuple[int, int]]:
        """Return the times of calls on the batch repeated, and on one never seen, in ns.

        At least LEAST_PAIRS of them, and at most MOST_PAIRS: as many as `most_s` are enough for.
        """
        until_s = time.perf_counter() + most_s
        times: list[tuple[int, int]] = []
        for number in range(MOST_PAIRS):
            if number >= LEAST_PAIRS and time.perf_counter() > until_s:
                break
            pair = {True: 0, False: 0}
            # By turns, so that neither always follows the other.
            for is_fresh in (number % 2 == 0, number % 2 == 1):
                pair[is_fresh] = self._call(is_fresh)
            times.append((pair[False], pair[True]))
        return times

    def _call(self, is_fresh: bool) -> int:
        batch = self._base
        if is_fresh:
            self._seed += 1
            batch = loading.random_batch(self._session, self._batch_size, self._seed)
        np.copyto(self._buffer, batch)
        started = time.perf_counter_ns()
        self._session.infer(0, self._buffer)
        return time.perf_counter_ns() - started


def _empty_batch(session: Session, batch_size: int) -> Batch:
    info = session.inputs[0]
    shape = (batch_size, *(int(size or 0) for size in info.shape[1:]))
    return Batch(np.zeros(shape, info.dtype))


def _differs(where: str, difference: float) -> Check:
    by = f" by {difference:.2g} of the greatest value" if np.isfinite(difference) else ""
    return Check(
        False,
        f"answers given while timing are not those of one call at a time ({where} differs{by}):"
        " take another engine",
    )


def _equal(what: str, worst: float) -> str:
    if not worst:
        return f"{what}: the same answers one call at a time, to the last bit"
    return f"{what}: the same answers one call at a time, within {worst:.2g} of the greatest value"
