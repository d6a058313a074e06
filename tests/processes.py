"""Processes as the kernel tells of them. Source: proc(5)."""

from __future__ import annotations

import signal
from pathlib import Path


def is_deaf(number: int) -> bool:
    """Say whether a process has SIGINT blocked, as those of a pool have it, forked or fresh."""
    try:
        status = Path(f"/proc/{number}/status").read_text()
    except OSError:
        return False
    blocked = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked, 16) & 1 << (signal.SIGINT - 1))


def command_line(number: int) -> bytes:
    """Return the words of a process's command, each ended by a NUL; nothing if it is gone."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""
