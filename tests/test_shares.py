"""Work in shares: results and errors of several processes."""

from __future__ import annotations

import os
import signal

import pytest

from pipeline import shares
from pipeline.errors import PipelineError

pytestmark = pytest.mark.skipif(not shares.can_fork(), reason="this system does not fork")


def test_work_of_a_killed_process_is_an_error() -> None:
    def work(start: int, _stop: int) -> list[int]:
        if start == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return [start]

    with pytest.raises(PipelineError, match="killed"):
        list(shares.run(work, [0, 2, 4]))


def test_shares_end_with_the_one_who_asked_for_them() -> None:
    def work(start: int, _stop: int) -> list[int]:
        if start:
            signal.pause()
        return [os.getpid()]

    results = shares.run(work, [0, 1, 2])
    assert next(results) != os.getpid()
    results.close()  # type: ignore[attr-defined]  # a generator: returns once all are gone


def test_result_of_a_process_ahead_is_there_when_asked_for() -> None:
    with shares.ahead(os.getpid) as found:
        assert found() != os.getpid()


def test_error_of_a_process_ahead_is_raised_when_asked_for() -> None:
    def fail() -> None:
        raise PipelineError("no such thing", "look elsewhere")

    with shares.ahead(fail) as found, pytest.raises(PipelineError, match="no such thing"):
        found()


def test_process_ahead_whose_result_nobody_asks_for_is_ended() -> None:
    with shares.ahead(signal.pause):
        pass
