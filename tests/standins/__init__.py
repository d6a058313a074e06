"""Stand-ins for the Ascend software that no machine without a card has; see README.md.

They take the place of `atc`, `benchmark.<arch>`, `npu-smi` and the packages `ais_bench` and
`aclruntime` in tests, compute with ONNX Runtime, and say nothing about a card's speed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = HERE / "bin"
PYTHON = HERE / "python"


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment with the stand-ins in front, and with `more`.

    Stand-in variables (`STANDIN_...`) of the process itself are left out, so that a test has only
    those that it names.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STANDIN_")}
    path = [str(BIN), str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]
    packages = [str(PYTHON), *filter(None, [kept.get("PYTHONPATH")])]
    kept |= {"PATH": os.pathsep.join(path), "PYTHONPATH": os.pathsep.join(packages)}
    return kept | more
