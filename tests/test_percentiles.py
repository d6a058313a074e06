"""Percentiles: the table of counts, and bounds that hold."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import percentiles
from pipeline.percentiles import PERCENTILES

MS = 1_000_000


def exact_tail(most: int, calls: int, over: Fraction) -> Fraction:
    """Return the chance that at most `most` of `calls` are over, each with the chance `over`."""
    return sum(
        (math.comb(calls, k) * over**k * (1 - over) ** (calls - k) for k in range(most + 1)),
        Fraction(),
    )


def test_each_percentile_takes_the_calls_of_the_early_stopping_table() -> None:
    counts = {name: percentiles.least_calls(over) for name, over in PERCENTILES.items()}
    assert counts == {"p50": 11, "p90": 64, "p95": 130, "p99": 662, "p99.9": 6636}


@pytest.mark.parametrize(("name", "over"), list(PERCENTILES.items()))
def test_no_call_is_discarded_at_the_least_count_and_none_is_said_below_it(
    name: str, over: float
) -> None:
    least = percentiles.least_calls(over)
    assert percentiles.discards(least, over) == 0
    assert percentiles.discards(least - 1, over) is None
    assert percentiles.discards(0, over) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 250), st.sampled_from([Fraction(1, 2), Fraction(1, 10), Fraction(1, 20)]))
def test_discards_are_those_of_the_exact_binomial_formula(calls: int, over: Fraction) -> None:
    allowed = -1
    while exact_tail(allowed + 1, calls, over) <= Fraction(1, 100):
        allowed += 1
    expected = allowed - 1 if allowed >= 1 else None
    assert percentiles.discards(calls, float(over)) == expected


@pytest.mark.parametrize("calls", [50_000, 1_000_000])
@pytest.mark.parametrize("over", list(PERCENTILES.values()))
def test_discards_of_many_calls_lie_where_the_normal_distribution_has_them(
    calls: int, over: float
) -> None:
    found = percentiles.discards(calls, over)
    assert found is not None
    # The 1 % point lies 2.326 standard deviations below the mean.
    expected = calls * over - 2.326 * math.sqrt(calls * over * (1 - over))
    assert found == pytest.approx(expected, abs=4)


def test_a_percentile_is_the_worst_latency_that_is_left() -> None:
    calls_ns = [ms * MS for ms in range(1, 663)]
    found = percentiles.of(calls_ns[::-1])
    assert found["p99"] == {"calls": 662, "discarded": 0, "at_most_ms": 662.0}
    dropped = found["p90"]["discarded"]
    assert dropped == percentiles.discards(662, 0.1) != 0
    assert found["p90"]["at_most_ms"] == 662 - dropped
    assert found["p99.9"] == {"calls": 662, "needs_calls": 6636}


def test_the_bound_lies_below_the_true_percentile_in_no_more_than_one_run_of_a_hundred() -> None:
    rng = np.random.default_rng(5)
    runs, calls, truth = 4000, 130, 950_000  # uniform up to a million: its p95
    low = 0
    for latencies in rng.integers(0, 1_000_000, (runs, calls)):
        bound = percentiles.of(latencies.tolist())["p95"]["at_most_ms"] * MS
        low += bound < truth
    assert 0 < low < 0.01 * runs
