"""What the machine was like during the timed region: who else used it, and whether it slowed down.

Two readings, before and after, and nothing in between. Sources:

- processor time of the usable cores, in clock ticks: proc(5), `/proc/stat`;
- this process's own: getrusage(2), with its children's as far as they have ended;
- a cgroup's quota: `cpu.stat` of the process's cgroups (`nr_periods`, `nr_throttled`), where the
  kernel's cgroup v2 and v1 documents put it;
- heat: `thermal_throttle/*_throttle_count` of x86 cores (the kernel's ABI document
  `sysfs-devices-system-cpu`);
- frequency: `cpufreq/scaling_cur_freq`, in kHz (the same).
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.quotable import Conditions

# The fields of a line of /proc/stat, by proc(5). The guests' time is in `user` and `nice` already.
_IDLE = (3, 4)  # idle, iowait
_FIELDS = 8  # up to `steal`, which is what other virtual machines took
_OWN_LEAST = 0.5  # of our own time must be seen in the machine's, or that is not told here

Ticks = tuple[int, int]  # busy, all


@dataclass(frozen=True)
class Reading:
    """What the system says at one moment; None or nothing where it is silent."""

    cores: tuple[Ticks, int] | None  # the usable cores, all together, and their number
    own_s: float
    periods: dict[Path, tuple[int, int]]  # by cgroup: periods, throttled ones
    heat: dict[Path, int]
    mhz: float | None


class Watch:
    """Two readings of a system whose `/` is at `root`, and what lies between them.

    `helpers_s` returns the processor time so far of processes that work for this one.
    """

    def __init__(
        self, root: Path = Path("/"), helpers_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._root, self._helpers_s = root, helpers_s
        self._before = self._read()

    def _read(self) -> Reading:
        reading = read(self._root)
        return replace(reading, own_s=reading.own_s + self._helpers_s())

    def conditions(self) -> Conditions:
        """Read once more, and return what has happened since the beginning."""
        before, after = self._before, self._read()
        return Conditions(
            others=others_share(before, after),
            throttled=_throttled_share(before, after),
            heat=_heat(before, after),
            mhz=(before.mhz, after.mhz) if before.mhz and after.mhz else None,
        )


def read(root: Path = Path("/")) -> Reading:
    """Return one reading."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    folders = [root / f"sys/devices/system/cpu/cpu{core}" for core in usable]
    frequencies = _numbers(folder / "cpufreq/scaling_cur_freq" for folder in folders)
    heat = _numbers(
        folder / "thermal_throttle" / f"{kind}_throttle_count"
        for folder in folders
        for kind in ("core", "package")
    )
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Reading(
        cores=_cores(root / "proc/stat", usable),
        own_s=sum(used.ru_utime + used.ru_stime for used in own),
        periods=_periods(root),
        heat=heat,
        mhz=max(frequencies.values()) / 1000 if frequencies else None,
    )


def others_share(before: Reading, after: Reading) -> float | None:
    """Return which share of the usable cores' time went to others than this process.

    What the kernel does on its own account, and other virtual machines, are others.
    """
    if before.cores is None or after.cores is None or before.cores[1] != after.cores[1]:
        return None
    (busy_0, all_0), _ = before.cores
    (busy_1, all_1), _ = after.cores
    busy, whole = busy_1 - busy_0, all_1 - all_0
    own = (after.own_s - before.own_s) * os.sysconf("SC_CLK_TCK")
    # Some sandboxes show zeros, or a time that has nothing to do with what runs.
    if whole <= 0 or busy < _OWN_LEAST * own - 1:
        return None
    return max(0.0, min(1.0, (busy - own) / whole))


def _cores(file: Path, usable: Iterable[int]) -> tuple[Ticks, int] | None:
    """Return the ticks of the usable cores, or of all where these are counted otherwise."""
    try:
        lines = [line.split() for line in file.read_text().splitlines() if line[:3] == "cpu"]
        found = {words[0]: [int(word) for word in words[1 : _FIELDS + 1]] for words in lines}
    except (OSError, ValueError):
        return None
    names = [f"cpu{core}" for core in usable]
    if not names or any(name not in found for name in names):
        names = [name for name in found if name != "cpu"]  # a container's own view of its cores
    if not names or any(len(found[name]) <= max(_IDLE) for name in names):
        return None
    whole = sum(sum(found[name]) for name in names)
    idle = sum(found[name][field] for name in names for field in _IDLE)
    return (whole - idle, whole), len(names)


def _periods(root: Path) -> dict[Path, tuple[int, int]]:
    """Return periods and throttled periods of each cgroup with a quota that holds for us."""
    found = {}
    for file in _cgroup_files(root):
        with contextlib.suppress(OSError, ValueError, KeyError):
            words = dict(line.split() for line in file.read_text().splitlines())
            found[file] = (int(words["nr_periods"]), int(words["nr_throttled"]))
    return found


def _cgroup_files(root: Path) -> list[Path]:
    """Return where the `cpu.stat` of our cgroup and of those around it may lie."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    files: dict[Path, None] = {}
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            tops = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            tops = [root / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
        else:
            continue
        # Inside a container the path may be the host's, and its own cgroup is the top.
        inner = Path(path.lstrip("/"))
        for top in tops:
            for part in (inner, *inner.parents):
                files[top / part / "cpu.stat"] = None
    return list(files)


def _throttled_share(before: Reading, after: Reading) -> float | None:
    """Return the greatest share of throttled periods of any cgroup."""
    if not after.periods:
        return None
    shares = [0.0]  # without a quota there are no periods
    for file, (periods, throttled) in after.periods.items():
        periods_0, throttled_0 = before.periods.get(file, (periods, throttled))
        if periods > periods_0:
            shares.append((throttled - throttled_0) / (periods - periods_0))
    return max(shares)


def _heat(before: Reading, after: Reading) -> int | None:
    """Return how often one of the cores, or the package, has throttled itself."""
    if not after.heat:
        return None
    # The package's count stands with each of its cores.
    return max(count - before.heat.get(file, count) for file, count in after.heat.items())


def _numbers(files: Iterable[Path]) -> dict[Path, int]:
    """Return the number that each of the files holds that are there."""
    found = {}
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            found[file] = int(file.read_text())
    return found
