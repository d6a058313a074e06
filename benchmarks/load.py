"""How busy everything else keeps the machine while something is measured."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pipeline import machine

_STAT = Path("/proc/stat")
# user nice system idle iowait irq softirq steal: proc(5). Time that the hypervisor took away
# (steal) is time that somebody else used.
_IDLE_FIELDS = (3, 4)
_FIELDS = 8


def busy_s() -> float | None:
    """Return the seconds all cores together have worked since boot, or None where unknown."""
    try:
        words = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1 : 1 + _FIELDS]
    except (OSError, IndexError):
        return None
    ticks = sum(int(word) for place, word in enumerate(words) if place not in _IDLE_FIELDS)
    return ticks / os.sysconf("SC_CLK_TCK")


def own_s() -> float:
    """Return the seconds that this process has worked, without its children."""
    used = os.times()
    return used.user + used.system


class Watch:
    """From its making to `others`, the share of the usable cores that other processes took."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._busy = busy_s()
        self._own = own_s()

    def others(self, measured_s: float) -> float | None:
        """Return the share (0 to 1) used by neither this process nor the measured one.

        `measured_s` is the processor time of what was measured. None where the system does not
        tell; the clock of /proc/stat ticks a hundred times a second, so spans below 0.3 s say
        little.
        """
        busy = busy_s()
        if busy is None or self._busy is None:
            return None
        wall = time.perf_counter() - self._started
        taken = (busy - self._busy) - (own_s() - self._own) - measured_s
        return max(0.0, taken) / (wall * machine.usable_cores())
