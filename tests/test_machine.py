"""Facts about the machine, and progress off a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import machine, progress

PROJECT = Path(__file__).resolve().parent.parent


def test_usable_cores_follow_the_affinity_of_the_process() -> None:
    script = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "from pipeline import machine; print(machine.usable_cores())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1)])
def test_usable_cores_follow_the_quota_of_the_cgroup(
    quota: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(Path, "read_text", lambda self, **_: quota)
    assert machine.usable_cores() == cores


def test_no_quota_means_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(Path, "read_text", lambda self, **_: "max 100000")
    assert machine.usable_cores() == 64


def test_progress_off_a_terminal_is_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = 100.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    with progress.track("images", 100, "images") as update:
        for done in range(101):
            clock += 0.5
            update(done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0] == "images: 19 of 100 images, 1.9/s, 43 s left"
