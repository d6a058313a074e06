"""Pictures that were changed at random: each is prepared or refused, and none is lost."""

from __future__ import annotations

import shutil
import signal
from collections import Counter

from tests.faults.field import Field, error_lines
from tests.faults.ground import Stage, see
from tests.faults.stages import script
from tests.faults.tally import Problem

MUTATED = "mutated pictures, the run killed midway"
_BATCH = 250  # pictures in a run
_KINDS = {"lost": "lost"}  # every other fault of the report is something wrong
_IMAGES_PER_S = 4  # at the very least


def mutated(field: Field) -> None:
    """Prepare mutated pictures, kill the run midway, go on, and account for each picture."""
    # Imported here: torchvision, which it compares with, takes seconds.
    from tests import mutations

    left = field.mutations
    while left > 0:
        count, left = min(_BATCH, left), left - _BATCH
        seed = field.draw.randrange(1 << 32)
        folder = field.ground.fresh(Stage("", ()))
        given = mutations.mutate_images(folder / "in", count, seed)
        stage = Stage("preprocess", (*script("vovnet_torch_preprocess.py"), "in", "out"))
        seen = see(folder)
        child = field.ground.start(stage, folder)
        child.wait(60, seen)
        child.wait(field.draw.uniform(0, given / 100))
        child.strike(signal.SIGKILL, group=True)
        child.end(60)
        bad: Counter[str] = Counter()
        problems = []
        ended = field.ground.start(stage, folder).end(60 + given / _IMAGES_PER_S)
        if ended.hung:
            problems.append(Problem("hung", f"{given} pictures of seed {seed}"))
            bad["hung"] = given
        elif "Traceback" in ended.err or error_lines(ended.err) or ended.code not in (0, 1):
            problems.append(Problem("wrong", f"seed {seed}: {ended.last_line()}"))
            bad["wrong"] = given
        else:
            report = mutations.check(folder / "in", folder / "out")
            for kind, names in report.faults().items():
                column = _KINDS.get(kind, "wrong")
                bad[column] += len(names)
                problems.append(Problem(column, f"seed {seed}: {kind}: {names[:3]}"))
            refused = [line for line in ended.err.splitlines() if line.startswith("refused: ")]
            for line in refused:
                field.tally.saw(MUTATED, "preprocess", line)
        field.tally.count_many(MUTATED, f"{folder}", given, bad, problems)
        if not problems:
            shutil.rmtree(folder)
