"""Stand-in for `ais_bench`, version 0.0.2; see tests/standins/README.md."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[4]))  # for `tests.standins`
