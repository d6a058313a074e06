"""The verdict on a speed figure: what may be quoted, and reasons that fit where it may not."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import quotable
from pipeline.quotable import Check, Conditions, Timed

MS = 1_000_000
QUIET = Conditions(others=0.01, throttled=0.0, heat=0, mhz=(3000.0, 2950.0))


def timed(calls: int = 200, call_ms: int = 60, **changes: object) -> Timed:
    """Return a run of calls one after another, all of them as long as the others."""
    run = Timed(
        calls_ns=[call_ms * MS] * calls,
        start_ns=7 * MS,
        ends_ns=[(7 + call_ms * (i + 1)) * MS for i in range(calls)],
        requests=1,
        warmup=2,
        samples=calls,
        of_samples=calls,
        more_calls="give more samples",
        more_seconds="give much more",
    )
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


def test_a_long_steady_run_on_a_quiet_machine_may_be_quoted() -> None:
    verdict = quotable.judge(timed(), QUIET, {"answers": Check(True, "the same")})
    assert (verdict.word, verdict.reasons) == ("QUOTABLE", ())
    assert verdict.lines() == [
        "QUOTABLE: 200 calls in 12.0 s, the rates of 5 parts within 0.0%,"
        " 1.0% of the cores with others",
        "latency of a call: at most p50 60 ms, p90 60 ms, p95 60 ms (200 calls);"
        " p99 needs 662, p99.9 needs 6636 calls, 200 calls were timed",
    ]


def test_what_the_system_does_not_tell_is_unknown_and_no_reason() -> None:
    verdict = quotable.judge(timed(), Conditions())
    assert verdict.word == "QUOTABLE"
    content = verdict.to_json()
    assert content["others_share_of_cores"] == "unknown"
    assert content["throttled_share_of_quota_periods"] == "unknown"
    assert content["thermal_throttle_events"] == "unknown"
    assert content["frequency_mhz_before_and_after"] == "unknown"


@pytest.mark.parametrize(
    ("run", "conditions", "reason"),
    [
        (timed(63, 200), QUIET, "63 calls were timed and 64 are needed: give more samples"),
        (timed(64, 156), QUIET, "9.98 s were timed and 10 are needed: give much more"),
        (timed(warmup=0), QUIET, "not every request was warmed up: give -warmup=1 or more"),
        (
            timed(of_samples=500),
            QUIET,
            "200 of 500 samples were timed, the others in an earlier run: measure anew with -force",
        ),
        (
            timed(),
            Conditions(others=0.0512),
            "other processes took 5.1% of the cores and 5% is the limit: stop them",
        ),
        (
            timed(),
            Conditions(throttled=0.34),
            "the cgroup's quota ran out in 34.0% of its periods and 5% is the limit: give fewer"
            " -threads or raise the quota",
        ),
        (timed(), Conditions(heat=1), "the processor throttled itself once: cool it"),
        (timed(), Conditions(heat=3), "the processor throttled itself 3 times: cool it"),
        (
            timed(),
            Conditions(mhz=(3000.0, 2699.0)),
            "the processor slowed down from 3000 to 2699 MHz: cool it, or fix its frequency",
        ),
    ],
)
def test_each_shortcoming_is_one_reason_that_says_what_to_change(
    run: Timed, conditions: Conditions, reason: str
) -> None:
    verdict = quotable.judge(run, conditions)
    assert (verdict.word, verdict.reasons) == ("SMOKE", (reason,))
    assert verdict.lines()[0] == f"SMOKE: {reason}"


def test_a_run_at_the_limits_may_be_quoted() -> None:
    at_limits = Conditions(others=0.05, throttled=0.05, heat=0, mhz=(3000.0, 2700.0))
    assert quotable.judge(timed(64, 157), at_limits).word == "QUOTABLE"
    assert quotable.judge(timed(100, 100), QUIET).word == "QUOTABLE"  # ten seconds sharp


def test_several_reasons_stand_side_by_side() -> None:
    verdict = quotable.judge(timed(1, 5, warmup=0), QUIET, {"answers": Check(False, "all wrong")})
    assert len(verdict.reasons) == 4
    assert verdict.reasons[1].startswith("1 call was timed")
    assert verdict.reasons[-1] == "all wrong"
    assert verdict.lines() == [
        "SMOKE: " + "; ".join(verdict.reasons),
        "latency of a call: p50 needs 11, p90 needs 64, p95 needs 130, p99 needs 662,"
        " p99.9 needs 6636 calls, 1 call was timed",
    ]


def test_a_check_that_was_not_made_is_said_and_decides_nothing() -> None:
    verdict = quotable.judge(timed(), QUIET, {"repetition": Check(None, "repetition (too slow)")})
    assert verdict.word == "QUOTABLE"
    assert verdict.lines()[0].endswith("; not checked: repetition (too slow)")


def test_parts_of_different_speed_are_smoke_with_the_figure() -> None:
    # Four fifths at 100 ms each, the last at 112 ms.
    ends, now = [], 0
    for number in range(100):
        now += (112 if number >= 80 else 100) * MS
        ends.append(now)
    run = timed(
        100, 100, start_ns=0, ends_ns=ends[::-1]
    )  # the order they are given in is no matter
    assert quotable.part_rates(run) == pytest.approx([10, 10, 10, 10, 10 / 1.12])
    (reason,) = quotable.judge(run, QUIET).reasons
    assert reason == (
        "the rates of 5 parts of the run differ by 12.0% and 10% is the limit: run again on a quiet"
        " machine"
    )


def test_parts_hold_whole_rounds_of_the_calls_in_flight() -> None:
    # Four calls end together every 400 ms; parts of 13 calls would differ by a whole round.
    ends = [400 * MS * (number // 4 + 1) for number in range(66)]
    run = timed(66, 400, start_ns=0, ends_ns=ends, requests=4)
    assert quotable.part_rates(run) == pytest.approx([10.0] * 5)
    assert quotable.part_rates(timed(19, requests=4)) == []
    assert quotable.judge(timed(19, requests=4), QUIET).to_json()["spread"] == "unknown"


def test_too_few_calls_are_not_blamed_for_their_spread_as_well() -> None:
    run = timed(5, 100, ends_ns=[107 * MS, 307 * MS, 407 * MS, 507 * MS, 607 * MS])
    reasons = quotable.judge(run, QUIET).reasons
    assert not any("parts" in reason for reason in reasons)
    assert quotable.judge(run, QUIET).to_json()["spread"] == pytest.approx(1.0)


def test_a_run_of_no_calls_is_smoke_and_no_error() -> None:
    run = timed(0)
    verdict = quotable.judge(run, QUIET)
    assert (verdict.word, run.seconds) == ("SMOKE", 0)
    assert len(verdict.lines()) == 2
    assert verdict.to_json()["calls"] == 0


def test_what_goes_into_the_record_comes_out_of_it() -> None:
    verdict = quotable.judge(timed(3, of_samples=9), QUIET, {"answers": Check(True, "the same")})
    details = json.loads(json.dumps({"quotable": verdict.to_json()}, allow_nan=False))
    assert quotable.of_record(details) == ("SMOKE", verdict.reasons)
    assert details["quotable"]["self_checks"] == {"answers": {"state": "good", "text": "the same"}}


@pytest.mark.parametrize(
    "details",
    [None, [], "x", {}, {"quotable": None}, {"quotable": {"verdict": "GOOD"}}, {"quotable": []}],
)
def test_a_record_that_says_nothing_of_it_leaves_it_unknown(details: object) -> None:
    assert quotable.of_record(details) == ("unknown", ("its record does not say",))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**10), max_size=300), st.integers(1, 9))
def test_any_latencies_give_lines_and_a_record(calls_ns: list[int], requests: int) -> None:
    ends = np.cumsum([0, *calls_ns]).tolist()[1:]
    run = timed(len(calls_ns), calls_ns=calls_ns, ends_ns=ends, start_ns=0, requests=requests)
    verdict = quotable.judge(run, Conditions())
    assert len(verdict.lines()) == 2
    json.dumps(verdict.to_json(), allow_nan=False)
    for found in verdict.to_json()["latency_ms_per_call"].values():
        assert ("at_most_ms" in found) != ("needs_calls" in found)
