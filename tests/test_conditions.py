"""What the machine was like: figures of a made-up system, and that they are there on this one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipeline.runner import conditions
from pipeline.runner.conditions import Reading, Watch

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process use the cores 1 and 3."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda who: {1, 3}, raising=False)


def write(root: Path, name: str, text: str | int) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}\n")


def stat(busy: int, idle: int, steal: int = 0, core: str = "") -> str:
    # user nice system idle iowait irq softirq steal guest guest_nice
    return f"cpu{core} {busy} 0 0 {idle} 0 0 0 {steal} 0 0"


def reading(busy: int, whole: int, own_s: float = 0, cores: int = 2) -> Reading:
    return Reading(((busy, whole), cores), own_s, {}, {}, None)


def test_others_are_what_is_busy_less_what_is_our_own() -> None:
    before, after = reading(100, 1000, 3.0), reading(700, 2000, 3.0 + 500 * TICK_S)
    assert conditions.others_share(before, after) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("after", "share"),
    [
        (reading(150, 2000, 60 * TICK_S), 0.0),  # ours is counted exactly, the machine's by ticks
        (reading(1100, 2000, 0), 1.0),
        (reading(100, 1000, 0), None),  # no time has passed
        (reading(100, 2000, 100 * TICK_S), None),  # we worked, and it shows nothing
        (reading(700, 2000, 0, cores=3), None),  # a core came
    ],
)
def test_others_share_is_within_its_bounds_or_unknown(after: Reading, share: float | None) -> None:
    assert conditions.others_share(reading(100, 1000), after) == share


@pytest.mark.usefixtures("cores")
def test_only_the_usable_cores_are_looked_at(tmp_path: Path) -> None:
    lines = [stat(9000, 9), *(stat(100 * core, 1000, core, str(core)) for core in range(4))]
    write(tmp_path, "proc/stat", "\n".join([*lines, "intr 5 5", "ctxt 1"]))
    # Stolen time is busy, too.
    assert conditions.read(tmp_path).cores == ((101 + 303, 2404), 2)


@pytest.mark.usefixtures("cores")
def test_where_the_cores_have_other_numbers_all_of_them_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path, "proc/stat", "\n".join([stat(9, 9), stat(5, 10, 0, "0"), stat(7, 20, 0, "1")]))
    assert conditions.read(tmp_path).cores == ((12, 42), 2)


@pytest.mark.parametrize("text", ["", "cpu", "cpu0 x", "cpu0 1 2", "nothing of the kind"])
def test_a_stat_file_of_another_kind_tells_nothing(text: str, tmp_path: Path) -> None:
    write(tmp_path, "proc/stat", text)
    assert conditions.read(tmp_path).cores is None


def test_a_silent_system_leaves_everything_unknown(tmp_path: Path) -> None:
    found = Watch(tmp_path).conditions()
    assert (found.others, found.throttled, found.heat, found.mhz) == (None, None, None, None)


@pytest.mark.parametrize(
    ("lines", "places"),
    [
        ("0::/a/b", ["sys/fs/cgroup/a/b", "sys/fs/cgroup/a", "sys/fs/cgroup"]),
        ("0::/", ["sys/fs/cgroup"]),
        ("3:cpu,cpuacct:/x:y\n0::/z", ["sys/fs/cgroup/cpu,cpuacct/x:y", "sys/fs/cgroup/cpu"]),
    ],
)
def test_a_quota_that_ran_out_is_found_in_any_cgroup_around(
    lines: str, places: list[str], tmp_path: Path
) -> None:
    write(tmp_path, "proc/self/cgroup", lines)
    for place in places:
        file = f"{place}/cpu.stat"
        write(tmp_path, file, "usage_usec 7\nnr_periods 100\nnr_throttled 10\nthrottled_usec 5")
        watch = Watch(tmp_path)
        write(tmp_path, file, "usage_usec 9\nnr_periods 140\nnr_throttled 20\nthrottled_usec 9")
        assert watch.conditions().throttled == 0.25, place


def test_a_cgroup_without_a_quota_throttles_nothing(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/")
    write(tmp_path, "sys/fs/cgroup/cpu.stat", "nr_periods 0\nnr_throttled 0")
    assert Watch(tmp_path).conditions().throttled == 0


@pytest.mark.usefixtures("cores")
def test_heat_is_what_was_counted_meanwhile(tmp_path: Path) -> None:
    def count(core: int, kind: str, number: int) -> None:
        name = f"sys/devices/system/cpu/cpu{core}/thermal_throttle/{kind}_throttle_count"
        write(tmp_path, name, number)

    for core in (0, 1, 3):
        count(core, "core", 5)
        count(core, "package", 8)
    watch = Watch(tmp_path)
    count(0, "core", 99)  # a core that is not ours
    assert watch.conditions().heat == 0
    for core in (0, 1, 3):
        count(core, "package", 10)  # the one package, told by each of its cores
    assert watch.conditions().heat == 2


@pytest.mark.usefixtures("cores")
def test_frequency_is_that_of_the_fastest_usable_core(tmp_path: Path) -> None:
    name = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    for core, khz in ((0, 5_000_000), (1, 800_000), (3, 3_100_000)):
        write(tmp_path, name.format(core), khz)
    watch = Watch(tmp_path)
    write(tmp_path, name.format(3), 2_000_000)
    assert watch.conditions().mhz == (3100, 2000)


def test_our_own_work_is_not_taken_for_that_of_others() -> None:
    """On this machine, whatever else runs on it: what is ours is taken off what is busy."""
    before = conditions.read()
    until = time.process_time() + 20 * TICK_S
    while time.process_time() < until:
        pass
    after = conditions.read()
    assert after.own_s - before.own_s >= 20 * TICK_S
    if (share := conditions.others_share(before, after)) is not None:
        assert before.cores is not None
        assert after.cores is not None
        busy = after.cores[0][0] - before.cores[0][0]
        whole = after.cores[0][1] - before.cores[0][1]
        assert share < busy / whole
