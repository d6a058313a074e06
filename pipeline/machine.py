"""What this machine offers to this process."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path


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
