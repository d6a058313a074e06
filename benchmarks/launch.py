"""Run one command and account for all of it: wall time, processor time, peak memory.

Run as `python -I launch.py REPORT SAMPLE_S COMMAND...`. A process of its own, so that what it
waits for is the command and nothing else: as a subreaper (prctl(2)) it also gets the children
that the command leaves behind, and RUSAGE_CHILDREN (getrusage(2)) then covers them all. Start-up
of this process is not part of the figures.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> int:
    """Run the command; write what it took to the file REPORT; return its exit code."""
    report, sample_s, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sampler = _Sampler(sample_s) if sample_s > 0 else None
    started = time.perf_counter()
    process = subprocess.Popen(command)
    if sampler:
        sampler.start()
    code = process.wait()
    wall = time.perf_counter() - started
    if sampler:
        sampler.stop()
    _reap()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = os.times()
    figures = {
        "wall_s": wall,
        "cpu_s": used.ru_utime + used.ru_stime,
        "user_s": used.ru_utime,
        "system_s": used.ru_stime,
        "peak_bytes": sampler.peak if sampler else None,
        "samples": sampler.samples if sampler else 0,
        "launcher_s": own.user + own.system,
    }
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123 (pathlib loads slowly)
        json.dump(figures, file)
    return code


class _Sampler(threading.Thread):
    """Reads the memory of this process's descendants again and again and keeps the peak.

    PSS (proportional set size: a page shared by n processes counts 1/n to each) where the kernel
    tells it, in /proc/<pid>/smaps_rollup; else the sum of RSS, in which shared pages count often.
    """

    def __init__(self, interval_s: float) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.samples = 0
        self.kind = "PSS" if os.access("/proc/self/smaps_rollup", os.R_OK) else "RSS"
        self._interval_s = interval_s
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            self.peak = max(self.peak, sum(map(self._bytes_of, _descendants())))
            self.samples += 1
            self._over.wait(self._interval_s)

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _bytes_of(self, pid: str) -> int:
        file, field = ("smaps_rollup", "Pss:") if self.kind == "PSS" else ("status", "VmRSS:")
        try:
            with open(f"/proc/{pid}/{file}", encoding="ascii", errors="replace") as lines:  # noqa: PTH123
                for line in lines:
                    if line.startswith(field):
                        return int(line.split()[1]) * 1024
        except (OSError, ValueError):
            pass  # it ended between the listing and the reading
        return 0


def _descendants() -> list[str]:
    """Return the process ids below this process."""
    children: dict[str, list[str]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
                # The name in brackets may hold anything, also a bracket; the parent comes after it.
                parent = file.read().rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(pid)
    found: list[str] = []
    pending = [str(os.getpid())]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def _reap() -> None:
    """Wait for what the command left behind."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main())
