"""The card that the stand-ins pretend to have: its chip and devices, from the environment."""

from __future__ import annotations

import os
import re

from tests.standins import faults

# assumed: names beyond Ascend310, Ascend310P3 and those of the 310B and 910B parts.
_SOC = re.compile(
    r"Ascend(310|310P[1-7]|310B[1-4]|910|910(A|B|ProA|ProB|PremiumA)|910B[1-4]|910_93[0-9]{2})"
)
OPEN_FAILED = 507033  # documented: the return code of a device that does not open


class DeviceError(Exception):
    """The device cannot be opened; the text is what the tools print, without `[ERROR]`."""


def is_soc_version(name: str) -> bool:
    """Say whether `name` is a value of `--soc_version`."""
    return _SOC.fullmatch(name) is not None


def chip() -> str:
    """Return the chip's name as npu-smi shows it (`STANDIN_CHIP`, default 310)."""
    return os.environ.get("STANDIN_CHIP", "310")


def soc_version() -> str:
    """Return the `--soc_version` of the card: `Ascend` and npu-smi's name."""
    return f"Ascend{chip()}"


def device_count() -> int:
    """Return how many devices there are (`STANDIN_DEVICES`; four on a 310, otherwise one)."""
    return int(os.environ.get("STANDIN_DEVICES") or (4 if chip() == "310" else 1))


def open_device(device: int) -> None:
    """Open `device`, or raise DeviceError as a missing driver or device makes the tools do."""
    faults.start_slowly()
    if faults.is_active("no_driver") or device >= device_count() or faults.is_busy(device):
        raise DeviceError(f"acl open device {device} failed")
