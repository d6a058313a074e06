"""Facts about the machine, and progress off a terminal."""

from __future__ import annotations

import ast
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


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, groups: str, **files: str) -> None:
    """Let the kernel's files be those given, with `__` in the place of a slash."""
    (folder / "meminfo").write_text("MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable: 8000 kB\n")
    (folder / "groups").write_text(groups)
    for name, content in files.items():
        path = folder / "cgroup" / name.replace("__", "/").replace("_of", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(machine, "_MEMINFO", folder / "meminfo")
    monkeypatch.setattr(machine, "_OWN_CGROUPS", folder / "groups")
    monkeypatch.setattr(machine, "_CGROUPS", folder / "cgroup")


def test_available_memory_is_what_the_system_has_without_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, "0::/\n", memory_ofmax="max\n", memory_ofcurrent="5\n")
    assert machine.available_memory() == 8000 * 1024
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "missing")
    assert machine.available_memory() is None


def test_available_memory_is_what_the_tightest_cgroup_above_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(
        tmp_path,
        monkeypatch,
        "0::/user/shell\n",
        user__memory_ofmax="5000000\n",
        user__memory_ofcurrent="3000000\n",
        user__memory_ofstat="anon 2000000\ninactive_file 400000\n",
        user__shell__memory_ofmax="max\n",
        user__shell__memory_ofhigh="4000000\n",
        user__shell__memory_ofcurrent="1000000\n",
    )
    assert machine.available_memory() == 2_400_000


def test_available_memory_knows_the_first_version_of_cgroups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(
        tmp_path,
        monkeypatch,
        "5:cpu,cpuacct:/a\n4:memory:/outside/of/the/container\n0::/\n",
        memory__memory_oflimit_in_bytes="1000000\n",
        memory__memory_ofusage_in_bytes="1500000\n",
        memory__memory_ofstat="total_inactive_file 700000\n",
    )
    assert machine.available_memory() == 200_000


def test_available_memory_of_this_machine_is_no_more_than_it_has() -> None:
    free = machine.available_memory()
    assert free is not None
    assert 0 < free <= int(Path("/proc/meminfo").read_text().split()[1]) * 1024


def test_peak_memory_is_that_of_this_program_and_of_its_largest_child() -> None:
    script = (
        "import subprocess, sys; from pipeline import machine;"
        "held = bytes(range(256)) * 400_000; print(machine.peak_memory()); del held;"
        "subprocess.run([sys.executable, '-c', 'bytes(range(256)) * 800_000']);"
        "print(machine.peak_memory())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    alone, after = map(ast.literal_eval, done.stdout.splitlines())
    assert 100e6 < alone["process"] < 200e6
    assert after["process"] == pytest.approx(alone["process"], rel=0.1)
    assert 200e6 < after["largest_child"] < 300e6
