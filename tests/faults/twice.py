"""Two runs at once on one output."""

from __future__ import annotations

from tests.faults.child import Child, Ended
from tests.faults.field import Field, error_lines
from tests.faults.ground import Spec, see
from tests.faults.tally import Problem

TWICE = "two runs at once"
SLOW: Spec = {"delay_s": 0.01}


def twice(field: Field) -> None:
    """Start the same command while one is at work, or at the very same moment."""
    stage = field.stage()
    folder = field.ground.fresh(stage)
    slow = None if stage.script else SLOW
    known = field.ground.reference(stage, slow)
    seen = see(folder)
    first = field.ground.start(stage, folder, slow)
    at_once = field.draw.random() < 0.3
    if not at_once:
        first.wait(known.seconds, seen)
        first.wait(field.draw.uniform(0, 0.5) * (known.seconds - (known.first_s or 0)))
    second = field.ground.start(stage, folder, slow)
    limit_s = field.ground.limit_s(stage)
    ended = [(child, child.end(limit_s)) for child in (second, first)]
    problems = _judge(field, stage.name, ended)
    if not problems:
        problems = field.ground.check(stage, folder, min((e for _, e in ended), key=_code))
    problems += field.again(stage, folder)
    field.finish(TWICE, stage, folder, problems)


def _judge(field: Field, name: str, ended: list[tuple[Child, Ended]]) -> list[Problem]:
    """One is right; the other as well, after it, or it was refused with the number of the one."""
    if any(run.hung for _, run in ended):
        return [Problem("hung", "one of the two did not end")]
    good = [child for child, run in ended if run.code == 0]
    bad = [run for _, run in ended if run.code]
    if not good:
        return [Problem("wrong", f"neither won: {[run.last_line() for run in bad]}")]
    for run in bad:
        lines = error_lines(run.err)
        field.tally.saw(TWICE, name, (lines or [""])[0])
        if len(lines) != 1 or f"process {good[0].pid}" not in lines[0]:
            return [Problem("wrong", f"refused without a number: {run.last_line()}")]
    return []


def _code(ended: Ended) -> int:
    return abs(ended.code)
