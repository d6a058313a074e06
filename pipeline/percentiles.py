"""Percentiles of latencies, each only where there are calls enough, as a bound and no estimate.

With a confidence of 0.99 (and a tolerance of 0), no more than a share 1 - p of all calls is slower
than a limit that t of n calls exceeded, if

    sum over k = 0..t of C(n, k) (1 - p)^k p^(n-k)  <=  1 - 0.99

For the greatest such t, what is given is the worst latency left when the t - 1 worst are discarded.
So t must be at least 1: that takes 11 calls for p50, 64 for p90, 130 for p95, 662 for p99 and 6,636
for p99.9. Source: early stopping, in the rules of the MLPerf inference benchmark
(`inference_rules.adoc`). As there, calls are taken for independent of each other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

CONFIDENCE = 0.99
# The share of calls that may take longer.
PERCENTILES = {"p50": 0.5, "p90": 0.1, "p95": 0.05, "p99": 0.01, "p99.9": 0.001}

_NS_PER_MS = 1e6
_FAR = 12  # standard deviations below the mean; what lies there is less than 1e-30 of all

Json = dict[str, Any]


def discards(calls: int, over: float) -> int | None:
    """Return how many of the worst latencies do not count; None where there are too few calls.

    `over` is the share of calls that may take longer: 0.1 for a p90.
    """
    mean = calls * over
    count = max(0, math.floor(mean - _FAR * math.sqrt(mean * (1 - over))))
    log_term = (
        math.lgamma(calls + 1)
        - math.lgamma(count + 1)
        - math.lgamma(calls - count + 1)
        + count * math.log(over)
        + (calls - count) * math.log1p(-over)
    )
    log_odds = math.log(over) - math.log1p(-over)
    total = math.exp(log_term)
    while total <= 1 - CONFIDENCE:
        log_term += math.log((calls - count) / (count + 1)) + log_odds
        count += 1
        total += math.exp(log_term)
    allowed = count - 1
    return allowed - 1 if allowed >= 1 else None


@functools.cache
def least_calls(over: float) -> int:
    """Return the smallest number of calls that a percentile takes; `over` as in `discards`."""
    low, high = 0, 1
    while discards(high, over) is None:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if discards(middle, over) is None:
            low = middle
        else:
            high = middle
    return high


def of(calls_ns: Sequence[int]) -> dict[str, Json]:
    """Return, of each percentile, the latency in ms that it is at most, or the calls it needs.

    The number of calls stands with each.
    """
    worst_first = sorted(calls_ns, reverse=True)
    count = len(worst_first)
    found: dict[str, Json] = {}
    for name, over in PERCENTILES.items():
        dropped = discards(count, over)
        if dropped is None:
            found[name] = {"calls": count, "needs_calls": least_calls(over)}
        else:
            at_most = round(worst_first[dropped] / _NS_PER_MS, 6)
            found[name] = {"calls": count, "discarded": dropped, "at_most_ms": at_most}
    return found


def say(calls_ns: Sequence[int]) -> str:
    """Return the percentiles in one line."""
    found = of(calls_ns)
    given = [f"{name} {p['at_most_ms']:.4g} ms" for name, p in found.items() if "at_most_ms" in p]
    missing = [
        f"{name} needs {p['needs_calls']}" for name, p in found.items() if "needs_calls" in p
    ]
    said = f"at most {', '.join(given)} ({len(calls_ns)} calls)" if given else ""
    if missing:
        calls = "call was" if len(calls_ns) == 1 else "calls were"
        said += f"{'; ' if said else ''}{', '.join(missing)} calls, {len(calls_ns)} {calls} timed"
    return said
