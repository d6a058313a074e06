"""A forked process of the pool: all that its parent has loaded, and nothing that it holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import shares
from tests.conftest import PROJECT

pytestmark = pytest.mark.skipif(
    not shares.can_fork() or not Path("/proc/self/task").is_dir(),
    reason="no process is forked on this system",
)
# A process that holds what a stage may hold: a lock, a handler, a signal that it ignores.
SCRIPT = """
import fcntl, json, multiprocessing, os, resource, signal, sys, threading, time
from pipeline import workers
from pipeline.errors import PipelineError
from tests import pool_work

held = open("held", "w")
fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
signal.signal(signal.SIGTERM, lambda number, frame: None)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
def started(count, load=pool_work.load, chunks=(), crashed=None):
    return workers.running(pool_work.told, chunks, count, crashed, load)
"""


def script(folder: Path, *lines: str) -> Any:
    """Run the lines in a Python of its own; return what they print as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([SCRIPT, *lines])],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def told(folder: Path, *lines: str) -> list[dict[str, Any]]:
    """Run the lines, which make `results`; return what the processes tell of themselves."""
    return [json.loads(text) for chunk in script(folder, *lines) for text in chunk]


def test_forked_process_has_what_is_loaded_and_lets_go_of_all_else(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        "with started(3, chunks=[[1]] * 9) as results:",
        "    print(json.dumps(list(results)))",
    )
    assert len(found) == 9
    for process in found:
        assert process["loaded"]
        assert "fcntl" in " ".join(process["command"]), "it is not forked"
        assert process["blocked"] == [int(signal.SIGINT)]
        assert process["threads"] == "1"
        assert (process["ignored"], process["handled"]) == ([1], [])
        kinds = [name.partition(":")[0] for name in process["files"]]
        # Its own way to the parent, and the two ends by which each tells of the other's end.
        assert (kinds.count("socket"), kinds.count("pipe")) == (1, 2), process["files"]
        assert set(process["files"]) == {"/dev/null"} | {
            name for name in process["files"] if name.startswith(("socket:", "pipe:"))
        }


@pytest.mark.parametrize("count", range(1, 10))
def test_file_that_is_closed_before_the_fork_costs_a_process_nothing(
    count: int, tmp_path: Path
) -> None:
    """Its number goes to a pipe of the process, or to what the process opens first."""
    found = told(
        tmp_path,
        f"held_too = [open(f'held {{n}}', 'w') for n in range({count})]",
        "from pipeline import worker_process",
        "list_files = worker_process._open_files",
        "def late():",
        "    found = list_files()",
        "    [file.close() for file in held_too]",
        "    return found",
        "worker_process._open_files = late",
        "with started(2, chunks=[[1]] * 4) as results:",
        "    print(json.dumps(list(results)))",
    )
    assert len(found) == 4


def test_lock_is_free_when_the_parent_lets_go_of_it(tmp_path: Path) -> None:
    assert (
        script(
            tmp_path,
            "with started(2, chunks=[[1]] * 2) as results:",
            "    list(results)",
            "    held.close()",
            "    other = open('held')",
            "    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)",
            "    print(len(multiprocessing.active_children()))",
        )
        == 2
    )


def test_forked_processes_leave_by_themselves_when_the_block_ends(tmp_path: Path) -> None:
    codes = script(
        tmp_path,
        "with started(4, chunks=[[1]]) as results:",
        "    list(results)",
        "    children = multiprocessing.active_children()",
        "print(json.dumps([child.exitcode for child in children]))",
    )
    assert codes == [0] * 4


def test_what_takes_the_place_of_a_crashed_process_is_fresh(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        "crashed = lambda chunk, how: []",
        "with started(1, chunks=[[1], [-11], [2]], crashed=crashed) as results:",
        "    print(json.dumps(list(results)))",
    )
    first, last = found
    assert "spawn_main" not in " ".join(first["command"])
    assert "spawn_main" in " ".join(last["command"])
    assert not last["loaded"]


def test_signal_ends_a_forked_process_as_it_ends_a_fresh_one(tmp_path: Path) -> None:
    said = script(
        tmp_path,
        "try:",
        "    with started(1, chunks=[[-15]]) as results:",
        "        list(results)",
        "except PipelineError as error:",
        "    print(json.dumps(str(error)))",
    )
    assert "was killed by SIGTERM" in said


THREAD = "threading.Thread(target=time.sleep, args=(5,), daemon=True).start()"
BOUND = "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))"


@pytest.mark.parametrize(
    ("before", "load", "loaded", "fresh"),
    [
        ("pass", "load", True, False),
        (THREAD, "load", False, True),
        ("pass", "load_and_start_a_thread", True, True),
        (BOUND, "load", False, True),
    ],
    ids=["free", "a thread before", "a thread of what is loaded", "bounded memory"],
)
def test_processes_are_forked_only_where_nothing_is_in_the_way(
    before: str, load: str, loaded: bool, fresh: bool, tmp_path: Path
) -> None:
    here, *found = script(
        tmp_path,
        before,
        f"with started(2, pool_work.{load}, [[1]] * 2) as results:",
        "    print(json.dumps(['wave' in sys.modules, *sum(results, [])]))",
    )
    assert here is loaded
    commands = [" ".join(json.loads(text)["command"]) for text in found]
    assert ["spawn_main" in command for command in commands] == [fresh] * 2
