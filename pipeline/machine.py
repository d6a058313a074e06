"""What this machine offers to this process."""

from __future__ import annotations

import math
import os
import platform
import resource
from collections.abc import Iterator
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return how many cores this process may use: its affinity, within its cgroup's quota.

    Sources: sched_getaffinity(2); the kernel's cgroup v2 `cpu.max` and v1 `cpu.cfs_*_us`.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def available_memory() -> int | None:
    """Return how many bytes of memory processes may still take, or None where nothing tells.

    What the kernel can free at once counts as available. Sources: proc(5), `MemAvailable`; the
    kernel's cgroup v2 `memory.max`, `memory.high` and `memory.current` and v1
    `memory.limit_in_bytes` and `memory.usage_in_bytes`, of this process's group and those above it.
    """
    return min([*_system_memory(), *_cgroup_memory()], default=None)


def peak_memory() -> dict[str, int]:
    """Return the most bytes of memory that this process, and any one process of its, had in use.

    Sources: proc(5), `VmHWM`, which begins anew with the program, where `ru_maxrss` does not;
    getrusage(2), whose unit is 1024 bytes, for processes that have ended.
    """
    found = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                found["process"] = int(line.split()[1]) * 1024
    except OSError:
        pass  # no Linux: what getrusage says, then
    if children := resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss:
        found["largest_child"] = children * 1024
    return found


def processor() -> str:
    """Return the processor's name, as the kernel gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def load_average() -> float:
    """Return the one-minute load average, or NaN where the system keeps none."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return math.nan


def describe() -> dict[str, str | int | float]:
    """Return what a figure measured here has to say of its machine."""
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "usable_cores": usable_cores(),
        "load_average_1min": round(load_average(), 2),
        "system": f"{platform.system()} {platform.release()}",
    }


def _cgroup_quota() -> float | None:
    """Return the cgroup's limit in cores, or None where there is none."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        period_us = int((folder / "cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 and period_us > 0 else None
    except (OSError, ValueError):
        return None


def _system_memory() -> Iterator[int]:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _cgroup_memory() -> Iterator[int]:
    """Yield what each memory limit above this process leaves."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            root, limits = _CGROUPS, ["memory.max", "memory.high"]
            usage, idle = "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limits = _CGROUPS / "memory", ["memory.limit_in_bytes"]
            usage, idle = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # Within a container the group's path may be that outside of it, which is not there.
        own = root / group.lstrip("/")
        for folder in (own, *own.parents):
            used = _number(folder / usage)
            for limit in (_number(folder / name) for name in limits):
                if limit is not None and used is not None:
                    yield max(0, limit - used + _entry(folder / "memory.stat", idle))
            if folder == root:
                break


def _number(file: Path) -> int | None:
    """Return the number in a file, or None where there is none, as in `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _entry(file: Path, name: str) -> int:
    try:
        return int(dict(map(str.split, file.read_text().splitlines()))[name])
    except (OSError, ValueError, KeyError):
        return 0
