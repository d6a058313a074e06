"""The lock of an output: one holder, named; taken over from the dead; nothing left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline import lock
from pipeline.errors import PipelineError

HOLD = """
import sys, time
from pathlib import Path
from pipeline import lock
with lock.holding(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(output: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, output], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_second_process_is_refused_with_the_number_of_the_first(tmp_path: Path) -> None:
    output = tmp_path / "an output"
    process = hold(output)
    try:
        with (
            pytest.raises(PipelineError, match=f"being made by process {process.pid};") as refused,
            lock.holding(output),
        ):
            pass
        assert str(output) in refused.value.what
        with lock.holding(tmp_path / "another"):
            pass
    finally:
        process.kill()
        process.wait()


def test_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = hold(output)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lock.path_of(output).exists()
    with lock.holding(output):
        assert lock.path_of(output).read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


def test_error_in_the_block_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="within"), lock.holding(tmp_path / "x"):
        raise ValueError("within")
    with lock.holding(tmp_path / "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_at_once_never_hold_it_together(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    refused: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            try:
                with lock.holding(tmp_path / "x"):
                    inside.append(number)
                    most.append(len(inside))
                    inside.remove(number)
            except PipelineError:
                refused.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) + len(refused) == 800
    assert list(tmp_path.iterdir()) == []


def test_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    lock.path_of(tmp_path / "x").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), lock.holding(tmp_path / "x"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_number_that_is_written_a_moment_later_is_waited_for(tmp_path: Path) -> None:
    where = lock.path_of(tmp_path / "x")
    where.touch()
    with where.open("r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        later = threading.Timer(0.1, lambda: os.pwrite(holder.fileno(), b"4321\n", 0))
        later.start()
        with pytest.raises(PipelineError, match="by process 4321;"), lock.holding(tmp_path / "x"):
            pass
        later.join()
