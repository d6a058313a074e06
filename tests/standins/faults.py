"""Faults on demand: what `STANDIN_FAULT` asks for, `name[:argument]` separated by commas."""

from __future__ import annotations

import os
import signal
import time

VARIABLE = "STANDIN_FAULT"

# Each name with what its argument is; README.md says what each does.
NAMES = {
    "bad_soc": "",
    "unsupported_op": "operator type",
    "atc_warning": "",
    "atc_silent": "",
    "no_driver": "",
    "device_busy": "device",
    "slow_start": "seconds",
    "batch_mismatch": "",
    "stop_after": "samples",
    "partial": "samples",
    "killed_after": "samples",
    "device_dies": "device/samples",
    "device_killed": "device/samples",
    "wrong_outputs": "",
}


def active() -> dict[str, str]:
    """Return the faults in force with their arguments; ValueError for an unknown name."""
    found = {}
    for word in filter(None, os.environ.get(VARIABLE, "").split(",")):
        name, _, argument = word.strip().partition(":")
        if name not in NAMES:
            raise ValueError(f"{VARIABLE}: no fault is called {name!r}; known: {', '.join(NAMES)}")
        found[name] = argument
    return found


def is_active(name: str) -> bool:
    """Say whether the fault `name` is asked for."""
    return name in active()


def start_slowly() -> None:
    """Wait for as long as `slow_start` says."""
    if is_active("slow_start"):
        time.sleep(float(active()["slow_start"] or 1))


def is_busy(device: int) -> bool:
    """Say whether `device` is to refuse to open."""
    busy = active().get("device_busy")
    return busy is not None and busy in ("", str(device))


class Samples:
    """Counts the results that a tool has written, and strikes when a fault says so."""

    def __init__(self) -> None:
        self.written = 0
        faults = active()
        self._limits = {
            name: int(faults[name] or 1)
            for name in ("stop_after", "partial", "killed_after")
            if name in faults
        }

    def exit_status(self) -> int | None:
        """Return the status with which the tool is to end now, or None; may not return at all."""
        if self._reached("killed_after"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._reached("stop_after"):
            return 1
        return 0 if self._reached("partial") else None

    def _reached(self, name: str) -> bool:
        return name in self._limits and self.written >= self._limits[name]


def strike(device: int, executed: int) -> str | None:
    """Return why `device` fails, having executed that many samples, or None where it does not."""
    if _strikes("device_killed", device, executed):
        os.kill(os.getpid(), signal.SIGKILL)
    if _strikes("device_dies", device, executed):
        return f"device {device} is lost, ret=507899"
    return None


def _strikes(name: str, device: int, executed: int) -> bool:
    argument = active().get(name)
    if argument is None:
        return False
    which, _, after = argument.partition("/")
    return which in ("", str(device)) and executed >= int(after or 0)
