"""Plant every fault, diagnose it, print what was planted and what was said, in Markdown.

    python3 -m tests.diagnose_table [WORD ...]

Words choose the faults with one of them in the name. The exit code is 1 where one was not named, or
where something was found in files that are right.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.diagnosis import answers, network, preprocessing
from tests.diagnosis.fault import Fault, Said, ask
from tests.diagnosis.ground import Ground

ALL: Sequence[Fault] = (*preprocessing.ALL, *network.ALL, *answers.ALL)


def main(words: Sequence[str]) -> int:
    """Print the table; return the exit code."""
    chosen = [fault for fault in ALL if not words or any(word in fault.name for word in words)]
    wrong = 0
    started = time.perf_counter()
    print("| planted | first to part | said |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="diagnose.") as folder:
        ground = Ground(Path(folder))
        for fault in chosen:
            said = ask(ground, fault)
            good = said.names(fault)
            wrong += not good
            print(
                f"| {fault.name} | {'' if good else 'WRONG: '}{said.step or 'none'} |"
                f" {_shown(said, Path(folder))} |",
                flush=True,
            )
    planted = sum(not fault.control for fault in chosen)
    right = len(chosen) - wrong
    print(
        f"\n{planted} faults and {len(chosen) - planted} controls: {right} of {len(chosen)} named"
        f" as they are, in {time.perf_counter() - started:.0f} s"
    )
    return 1 if wrong else 0


def _shown(said: Said, folder: Path) -> str:
    line = re.sub(r"; [0-9.]+ s$", "", said.line).replace(f"{folder}/", "")
    return line.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
