"""The pool of processes: every result once, errors raised, crashes survived, nothing left over."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import workers
from pipeline.errors import PipelineError
from tests.conftest import PROJECT


def double(chunk: list[int]) -> list[Any]:
    """Return each number twice; a negative one kills the process by that signal."""
    for number in chunk:
        if number < 0:
            os.kill(os.getpid(), -number)
    return [2 * number for number in chunk]


def double_unless_damaged(chunk: list[int]) -> list[Any]:
    """Crash at 7, but only in a process that has had 3 before, as a damaged heap would."""
    for number in chunk:
        if number == 3:
            os.environ["DAMAGED"] = "yes"
        if number == 7 and "DAMAGED" in os.environ:
            os.kill(os.getpid(), signal.SIGSEGV)
    return [2 * number for number in chunk]


def tell_and_sleep(folder: str) -> None:
    """Tell the number of this process, and be busy for longer than anybody waits."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(300)


def crashed(chunk: list[int], how: str) -> list[Any]:
    return [f"{number} {how}" for number in chunk]


def test_every_result_comes_once() -> None:
    expected = [1, 1, 2, 6, 24, 120, 720, 5040, 40320]
    assert sorted(workers.run_chunks(math.factorial, range(9), 2)) == expected
    assert list(workers.run_chunks(math.factorial, [], 1)) == []


def test_error_in_a_worker_is_raised_in_its_parent() -> None:
    before = dict(os.environ)
    with pytest.raises(ValueError, match="negative"):
        list(workers.run_chunks(math.factorial, [1, 2, -1, 3, 4], 2))
    assert dict(os.environ) == before


def test_worker_that_ends_is_an_error_with_its_code() -> None:
    with pytest.raises(PipelineError, match=r"worker process \d+ ended by itself with code 3"):
        list(workers.run_chunks(os._exit, [3, 3], 1))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE])
def test_crash_costs_the_item_and_no_other(number: signal.Signals) -> None:
    chunks = [[1, 2, 3], [4, -number, 5], [6, 7], [-number], [8]]
    found = list(workers.run_chunks(double, chunks, 2, crashed))
    values = sorted(value for answer in found for value in answer if isinstance(value, int))
    assert values == [2, 4, 6, 8, 10, 12, 14, 16]
    assert [value for answer in found for value in answer if isinstance(value, str)] == [
        f"{-number} {number.name}"
    ] * 2


def test_item_that_crashes_only_after_another_is_not_blamed() -> None:
    found = list(workers.run_chunks(double_unless_damaged, [[3], [7], [8]], 1, crashed))
    assert sorted(value for answer in found for value in answer) == [6, 14, 16]


def test_crash_without_anybody_to_tell_it_is_an_error() -> None:
    with pytest.raises(PipelineError, match="was killed by SIGSEGV"):
        list(workers.run_chunks(double, [[1], [-signal.SIGSEGV]], 1))


def test_kill_is_an_error_even_where_crashes_are_told() -> None:
    with pytest.raises(PipelineError, match="was killed by SIGKILL; often the memory is too small"):
        list(workers.run_chunks(double, [[1], [-signal.SIGKILL]], 1, crashed))


def test_processes_that_do_nothing_but_crash_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST_CRASHES", 2)
    started = [[-signal.SIGSEGV]] * 5
    with pytest.raises(PipelineError, match="libraries may not fit this machine"):
        list(workers.run_chunks(double, started, 1, crashed))


def test_process_that_cannot_be_started_is_one_line_and_the_others_end() -> None:
    script = (
        "import math, resource\n"
        "from pipeline import workers\n"
        "from pipeline.errors import PipelineError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n"
        "try:\n"
        "    list(workers.run_chunks(math.factorial, range(99), 40))\n"
        "except PipelineError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert "cannot be started: Too many open files; try again with fewer --workers" in done.stdout


def test_workers_end_with_a_parent_that_is_killed_in_the_middle_of_an_item(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pipeline import workers\n"
        "from tests.test_workers import tell_and_sleep\n"
        "list(workers.run_chunks(tell_and_sleep, [sys.argv[1]] * 2, 2))\n"
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


def test_crash_leaves_no_core_file(tmp_path: Path) -> None:
    script = (
        "import resource, signal\n"
        "from pipeline import workers\n"
        "from tests.test_workers import double, crashed\n"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "print(list(workers.run_chunks(double, [[-signal.SIGSEGV]], 1, crashed)))\n"
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
