"""The pool of processes: every result once, errors raised, crashes survived, nothing left over."""

from __future__ import annotations

import functools
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline import shares, worker_process, workers
from pipeline.errors import PipelineError
from tests.conftest import PROJECT
from tests.pool_work import crashed, double, double_unless_damaged

Run = Callable[..., list[Any]]


def run(
    work: Callable[[Any], Any],
    chunks: Iterable[Any],
    count: int,
    crashed: Callable[[Any, str], Any] | None = None,
    load: Callable[[], object] | None = None,
) -> list[Any]:
    """Return all results of a pool; with `load` its processes are forked where that is possible."""
    with workers.running(work, chunks, count, crashed, load) as results:
        return list(results)


@pytest.fixture(params=["fresh", "forked"])
def run_both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return `run`, with fresh processes and with forked ones, threads of this process or not."""
    if request.param == "fresh":
        return run
    if not shares.can_fork():
        pytest.skip("this system does not fork")
    monkeypatch.setattr(worker_process, "_threads", lambda: 1)
    return functools.partial(run, load=list)


def test_every_result_comes_once(run_both: Run) -> None:
    expected = [1, 1, 2, 6, 24, 120, 720, 5040, 40320]
    assert sorted(run_both(math.factorial, range(9), 2)) == expected
    assert run_both(math.factorial, [], 1) == []


def test_error_in_a_worker_is_raised_in_its_parent(run_both: Run) -> None:
    before = dict(os.environ)
    with pytest.raises(ValueError, match="negative"):
        run_both(math.factorial, [1, 2, -1, 3, 4], 2)
    assert dict(os.environ) == before


def test_worker_that_ends_is_an_error_with_its_code(run_both: Run) -> None:
    with pytest.raises(PipelineError, match=r"worker process \d+ ended by itself with code 3"):
        run_both(os._exit, [3, 3], 1)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE])
def test_crash_costs_the_item_and_no_other(number: signal.Signals, run_both: Run) -> None:
    chunks = [[1, 2, 3], [4, -number, 5], [6, 7], [-number], [8]]
    found = run_both(double, chunks, 2, crashed)
    values = sorted(value for answer in found for value in answer if isinstance(value, int))
    assert values == [2, 4, 6, 8, 10, 12, 14, 16]
    assert [value for answer in found for value in answer if isinstance(value, str)] == [
        f"{-number} {number.name}"
    ] * 2


def test_item_that_crashes_only_after_another_is_not_blamed(run_both: Run) -> None:
    found = run_both(double_unless_damaged, [[3], [7], [8]], 1, crashed)
    assert sorted(value for answer in found for value in answer) == [6, 14, 16]


def test_crash_without_anybody_to_tell_it_is_an_error(run_both: Run) -> None:
    with pytest.raises(PipelineError, match="was killed by SIGSEGV"):
        run_both(double, [[1], [-signal.SIGSEGV]], 1)


def test_kill_is_an_error_even_where_crashes_are_told(run_both: Run) -> None:
    with pytest.raises(PipelineError, match="was killed by SIGKILL; often the memory is too small"):
        run_both(double, [[1], [-signal.SIGKILL]], 1, crashed)


def test_processes_that_do_nothing_but_crash_end_the_work(
    monkeypatch: pytest.MonkeyPatch, run_both: Run
) -> None:
    monkeypatch.setattr(workers, "MOST_CRASHES", 2)
    started = [[-signal.SIGSEGV]] * 5
    with pytest.raises(PipelineError, match="libraries may not fit this machine"):
        run_both(double, started, 1, crashed)


def test_caller_that_leaves_early_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STOP_S", 100.0)
    started = time.monotonic()
    with workers.running(time.sleep, [0, 300], 2) as results:
        assert next(results) is None
    assert time.monotonic() - started < 60


LOADS = pytest.mark.parametrize("load", ["None", "list"], ids=["fresh", "forked"])


@LOADS
def test_process_that_cannot_be_started_is_one_line_and_the_others_end(load: str) -> None:
    script = (
        "import math, resource\n"
        "from pipeline import workers\n"
        "from pipeline.errors import PipelineError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n"
        "try:\n"
        f"    with workers.running(math.factorial, range(99), 40, load={load}): pass\n"
        "except PipelineError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert "cannot be started: Too many open files; try again with fewer --workers" in done.stdout


@LOADS
def test_workers_end_with_a_parent_that_is_killed_in_the_middle_of_an_item(
    load: str, tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "from pipeline import workers\n"
        "from tests.pool_work import tell_and_sleep\n"
        f"with workers.running(tell_and_sleep, [sys.argv[1]] * 2, 2, load={load}) as results:\n"
        "    list(results)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    process = subprocess.Popen(command, cwd=PROJECT)
    try:
        _wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        process.kill()
        process.wait()
    children = [Path("/proc", path.name) for path in tmp_path.iterdir()]
    _wait_for(lambda: not any((child / "exe").exists() for child in children))


@LOADS
def test_crash_leaves_no_core_file(load: str, tmp_path: Path) -> None:
    script = (
        "import resource, signal\n"
        "from pipeline import workers\n"
        "from tests.pool_work import double, crashed\n"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "chunks = [[-signal.SIGSEGV]]\n"
        f"with workers.running(double, chunks, 1, crashed, {load}) as results:\n"
        "    print(list(results))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[['-11 SIGSEGV']]\n", done.stderr
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0, "cores are off here: nothing was shown"


def _wait_for(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
