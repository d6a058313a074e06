"""The run's checks of itself: engines that cheat are caught, and honest ones are not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.engines import CONVERTED, PRECISIONS, TensorInfo
from pipeline.errors import PipelineError
from pipeline.quotable import Check, Timed
from pipeline.runner import loading, selfcheck, sinks
from pipeline.runner.flow import Flow, Sink
from pipeline.runner.selfcheck import Rerun
from pipeline.runner.sources import TensorFiles

SHAPE = (3, 4, 4)
MS = 1_000_000
DTYPES = (np.float32, np.int64)


class Clock:
    """Stands in for `time`: it goes on only when a session works."""

    def __init__(self) -> None:
        self.ns = 5 * MS

    def perf_counter_ns(self) -> int:
        return self.ns

    def perf_counter(self) -> float:
        return self.ns / 1e9


class Honest:
    """Computes each time, in `call_ns`; the answers depend on every value."""

    engine, version, precision, threads, start = "honest", "1", "fp32", 1, "at once"

    def __init__(self, batch_size: int, clock: Clock | None = None, call_ns: int = 10 * MS) -> None:
        self.batch_size, self.requests = batch_size, 1
        self.clock, self.call_ns, self.calls = clock or Clock(), call_ns, 0
        self.inputs: tuple[TensorInfo, ...] = (
            TensorInfo("x", (batch_size, *SHAPE), np.dtype(np.float32)),
        )
        self.outputs: tuple[TensorInfo, ...] = (
            TensorInfo("y", (batch_size, 48), np.dtype(np.float32)),
        )
        self.executed = [(0, 0)]

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        self.calls += 1
        self.clock.ns += self.call_ns
        return [batch.reshape(len(batch), -1) * 2, batch[:, 0, 0, :1].astype(np.int64)]

    def cancel(self) -> None:
        raise AssertionError("nobody interrupts")


class Rememberer(Honest):
    """Keeps its answers by the batch's content, and gives them in a fifth of the time."""

    def __init__(self, batch_size: int, clock: Clock, call_ns: int = 10 * MS) -> None:
        super().__init__(batch_size, clock, call_ns)
        self.known: dict[bytes, list[NDArray[Any]]] = {}

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        key = batch.tobytes()
        if key in self.known:
            self.clock.ns += self.call_ns // 5
        else:
            self.known[key] = super().infer(request, batch)
        return self.known[key]


class Stressed(Honest):
    """Two calls in flight give each other wrong answers."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        self.requests, self.executed = 2, [(0, 0)] * 2
        self.together: threading.Barrier | None = threading.Barrier(2, timeout=20)

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        doubled, first = super().infer(request, batch)
        if self.together is not None:
            self.together.wait()
            doubled[:, 7] += 1
        return [doubled, first]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(selfcheck, "time", clock)
    return clock


def timed(seconds: float, calls: int, call_ns: int) -> Timed:
    end = int(seconds * 1e9)
    return Timed([call_ns] * calls, 0, [end] * calls, 1, 2, calls, calls, "", "")


def dump_all(folder: Path, session: Honest, count: int, form: str = "text") -> Rerun:
    """Run samples through a real flow, into real dumps."""
    (folder / "dumps").mkdir()
    rng = np.random.default_rng(0)
    paths = [str(folder / f"s {i}.bin") for i in range(count)]
    for path in paths:
        rng.normal(0, 3, SHAPE).astype(np.float32).tofile(path)
    stems = [f"s {i}" for i in range(count)]
    size = session.batch_size
    source = TensorFiles(paths)
    outputs: list[NDArray[Any]] = [np.zeros((size, 48), np.float32), np.zeros((size, 1), np.int64)]
    sink: Sink
    if form == "npy":
        with sinks.ResultArrays(folder / "dumps", stems, outputs, size) as sink:
            Flow(session, source, sink, size).run(lambda done: None)
    else:
        sink = sinks.DumpFiles(folder / "dumps", stems, form == "binary")
        Flow(session, source, sink, size).run(lambda done: None)
    firsts = range(0, count, size)
    return Rerun(source, firsts, lambda: selfcheck.dumps_of(folder / "dumps", form, stems, DTYPES))


@pytest.mark.parametrize("form", ["text", "binary", "npy"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_honest_engine_answers_alike_to_the_last_bit(
    form: str, batch_size: int, tmp_path: Path
) -> None:
    session = Honest(batch_size)
    again = dump_all(tmp_path, session, 10, form)
    found = selfcheck.answers(session, again, batch_size, 100.0)
    assert found.good is True
    assert found.text.endswith("the same answers one call at a time, to the last bit")


def test_an_engine_that_answers_otherwise_under_load_is_caught(tmp_path: Path) -> None:
    session = Stressed(2)
    again = dump_all(tmp_path, session, 16)
    session.together = None  # from now on there is one call at a time
    found = selfcheck.answers(session, again, 2, 100.0)
    assert found.good is False
    assert "answers given while timing are not those of one call at a time" in found.text
    assert "s " in found.text


def test_one_wrong_value_in_a_dump_is_caught_with_its_sample(tmp_path: Path) -> None:
    session = Honest(4)
    again = dump_all(tmp_path, session, 4, "binary")
    dump = tmp_path / "dumps" / "s 2_1.bin"
    values = np.fromfile(dump, np.float32)
    values[9] += 0.01
    values.tofile(dump)
    found = selfcheck.answers(session, again, 4, 100.0)
    assert found.good is False
    assert f"({tmp_path / 's 2.bin'} differs by" in found.text


def lose(dump: Path) -> None:
    dump.unlink()


def cut(dump: Path) -> None:
    dump.write_text("1.0 2.0 \n")


def spoil(dump: Path) -> None:
    dump.write_text("1.0 zwei \n")


@pytest.mark.parametrize("harm", [lose, cut, spoil])
def test_a_dump_that_is_not_what_was_written_is_a_bad_check_and_no_crash(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    session = Honest(1)
    again = dump_all(tmp_path, session, 1)
    harm(tmp_path / "dumps" / "s 0_1.txt")
    found = selfcheck.answers(session, again, 1, 100.0)
    assert found.good is False
    assert "\n" not in found.text


def test_answers_stop_at_the_time_allowed_and_never_before_one_batch(
    clock: Clock, tmp_path: Path
) -> None:
    session = Honest(1, clock, 100 * MS)
    again = dump_all(tmp_path, session, 8)
    for budget_s, batches in ((0.0, 1), (0.15, 1), (0.25, 2), (9.0, selfcheck.MOST_BATCHES)):
        session.calls = 0
        assert selfcheck.answers(session, again, 1, budget_s).good
        assert session.calls == batches


@pytest.mark.parametrize(
    ("now", "then", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([np.nan, 2.0], [np.nan, 2.0], 0.0),
        ([np.nan, 2.0], [np.nan, 4.0], 0.5),
        ([np.nan, 2.0], [1.0, 2.0], np.inf),
        ([1.0, 2.0], [1.0, np.nan], np.inf),
        ([np.inf, 2.0], [np.inf, 4.0], 0.5),
        ([np.inf, 2.0], [-np.inf, 4.0], np.inf),
        ([1.0], [1.0, 2.0], np.inf),
        ([0.0, 1.0], [0.0, 0.0], np.inf),
        ([0.0, 0.0], [-0.0, 0.0], 0.0),
    ],
)
def test_a_difference_is_told_by_the_greatest_magnitude(
    now: list[float], then: list[float], difference: float
) -> None:
    arrays = [np.array(now, np.float32)], [np.array(then, np.float32)]
    assert selfcheck.greatest_difference(*arrays) == difference


def test_integers_may_not_differ_at_all() -> None:
    one, other = np.array([1_000_000]), np.array([1_000_001])
    assert selfcheck.greatest_difference([one], [one]) == 0
    assert selfcheck.greatest_difference([one], [other]) == np.inf


def test_every_precision_that_an_engine_may_have_has_a_tolerance() -> None:
    assert set(selfcheck.TOLERANCES) == {*PRECISIONS, CONVERTED}


def test_a_reduced_precision_is_given_its_own_tolerance() -> None:
    then, now = [np.array([100.0, 1.0])], [np.array([101.0, 1.0])]
    assert selfcheck.same_answers("fp32", now, then).good is False
    assert selfcheck.same_answers("bf16", now, then).good is True


@pytest.mark.parametrize("call_ns", [MS // 2, 10 * MS])
def test_an_engine_that_remembers_answers_is_caught(call_ns: int, clock: Clock) -> None:
    found = selfcheck.repetition(Rememberer(2, clock, call_ns), 2, call_ns, 2.0)
    limit = "20%" if call_ns < MS else "10%"
    assert found == Check(
        False,
        "the engine seems to remember answers, for one batch repeated is faster by 400.0% and"
        f" {limit} is the limit: take an engine that computes each time",
    )


def test_an_engine_that_computes_each_time_is_not(clock: Clock) -> None:
    found = selfcheck.repetition(Honest(2, clock), 2, 10 * MS, 2.0)
    assert found == Check(True, "one batch repeated is faster by 0.0%, in 0 of 20 pairs of calls")


class Erratic(Honest):
    """Every call of the first try on a batch repeated is quick, and none after that."""

    def __init__(self, clock: Clock, quick_calls: int, share: float) -> None:
        super().__init__(1, clock)
        self.base: bytes | None = None
        self.quick_calls, self.share = quick_calls, share

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        outputs = super().infer(request, batch)
        self.base = self.base or batch.tobytes()
        if batch.tobytes() == self.base and self.calls <= self.quick_calls:
            self.clock.ns -= int(self.call_ns * self.share)
        return outputs


def test_once_faster_is_chance_and_twice_is_not(clock: Clock) -> None:
    one_try = 1 + 2 * 4
    budget_s = 9 * 10 / 1000  # four pairs, then
    once = Erratic(clock, one_try, 0.5)
    assert selfcheck.repetition(once, 1, once.call_ns, budget_s).good is True
    assert once.calls == 2 * one_try - 1
    twice = Erratic(clock, 1000, 0.5)
    assert selfcheck.repetition(twice, 1, twice.call_ns, budget_s).good is False
    slightly = Erratic(clock, 1000, 0.09)  # 1 / 0.91 is 9.9 % more
    assert selfcheck.repetition(slightly, 1, slightly.call_ns, budget_s).good is True


class Lucky(Honest):
    """One call in four is quick, whatever it is given."""

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        outputs = super().infer(request, batch)
        self.clock.ns -= self.call_ns // 2 if self.calls % 4 == 3 else 0
        return outputs


def test_one_quick_call_does_not_accuse_an_engine(clock: Clock) -> None:
    session = Lucky(1, clock)
    # The third call is on the batch repeated, and no call on another one is quick.
    found = selfcheck.repetition(session, 1, session.call_ns, 0.09)
    assert (found.good, session.calls) == (True, 9)
    assert "in 2 of 4 pairs" in found.text


def test_what_takes_too_long_is_not_checked_unless_it_must_be(clock: Clock) -> None:
    session = Rememberer(1, clock, 500 * MS)
    found = selfcheck.repetition(session, 1, session.call_ns, 2.0)
    assert (found.good, session.calls) == (None, 0)
    assert selfcheck.repetition(session, 1, session.call_ns, 2.0, even_if_longer=True).good is False
    assert session.calls == 1 + 2 * selfcheck.LEAST_PAIRS  # what it remembers is no call


@pytest.mark.parametrize("call_ns", [1, 20_000, 3 * MS, 40 * MS, 250 * MS])
def test_repetition_stays_within_the_time_allowed(call_ns: int, clock: Clock) -> None:
    session = Erratic(clock, 10**9, 0.15)  # suspicious, so that it is tried twice
    session.call_ns = call_ns
    started = clock.ns
    found = selfcheck.repetition(session, 1, call_ns, 2.0)
    assert found.good is not True or call_ns < MS
    assert clock.ns - started <= 2.0 * 1e9 * 1.01 + 18 * call_ns
    assert session.calls <= 4 * selfcheck.MOST_PAIRS + 1


def test_an_engine_that_fails_on_random_data_is_a_bad_check(clock: Clock) -> None:
    class Failing(Honest):
        def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
            raise PipelineError("no more memory", "buy some")

    found = selfcheck.repetition(Failing(1, clock), 1, MS, 2.0)
    assert found.good is False
    assert "no more memory" in found.text


def test_too_little_memory_for_a_check_does_not_undo_the_run(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> NDArray[Any]:
        raise MemoryError

    session = Honest(1, clock)
    again = dump_all(tmp_path, session, 3)
    monkeypatch.setattr(loading, "random_batch", refuse)
    found = selfcheck.after_dataset(session, 1, again, timed(20, 3, 10 * MS), promising=True)
    assert (found["answers"].good, found["repetition"].good) == (True, None)
    assert "memory is short" in found["repetition"].text


def test_a_tiny_run_is_not_checked_and_says_so(tmp_path: Path) -> None:
    session = Honest(1)
    again = dump_all(tmp_path, session, 3)
    session.calls = 0
    found = selfcheck.after_dataset(session, 1, again, timed(0.9, 3, MS), promising=False)
    assert set(found) == set(selfcheck.CHECKS)
    assert {check.good for check in found.values()} == {None}
    assert session.calls == 0


def test_a_run_of_enough_time_has_both_checks(clock: Clock, tmp_path: Path) -> None:
    session = Honest(1, clock)
    again = dump_all(tmp_path, session, 3)
    found = selfcheck.after_dataset(session, 1, again, timed(20, 3, 10 * MS), promising=True)
    assert [found[name].good for name in selfcheck.CHECKS] == [True, True]
    assert clock.ns < 3e9  # within the two seconds, and what the flow took


def test_rounds_of_one_batch_are_compared_with_its_first_answer(clock: Clock) -> None:
    session = Honest(1, clock)
    first = session.infer(0, np.ones((1, *SHAPE), np.float32))
    short, long = timed(0.5, 50, 10 * MS), timed(5, 500, 10 * MS)
    good = selfcheck.after_rounds(session, 1, first, first, short, promising=False)
    assert (good["answers"].good, good["repetition"].good) == (True, None)
    other = [first[0] + 1, first[1]]
    bad = selfcheck.after_rounds(session, 1, other, first, long, promising=False)
    assert (bad["answers"].good, bad["repetition"].good) == (False, True)
    cheat = Rememberer(1, clock)
    caught = selfcheck.after_rounds(cheat, 1, first, first, long, promising=False)
    assert caught["repetition"].good is False


def test_the_time_allowed_is_half_a_second_or_a_twentieth() -> None:
    assert selfcheck.allowance_s(10) == 0.5
    assert selfcheck.allowance_s(1000) == 50
