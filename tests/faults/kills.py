"""Runs that are killed at any moment, once or several times, and go on by the same command."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from pipeline import record
from tests.faults.child import LEAVE_S, Child, Ended
from tests.faults.field import Field, error_lines
from tests.faults.ground import Spec, Stage, is_complete, see
from tests.faults.stages import run_next
from tests.faults.tally import Problem

CTRL_C = "Ctrl-C"
HUNG_S = 5.0  # after Ctrl-C
EXIT_INTERRUPTED = 130
SLOW: Spec = {"delay_s": 0.004}  # so that there is time to be killed in
Blow = tuple[str, signal.Signals, bool]

BLOWS: tuple[Blow, ...] = (
    ("SIGKILL to the stage", signal.SIGKILL, False),
    ("SIGKILL to all its processes", signal.SIGKILL, True),
    ("SIGTERM to the stage", signal.SIGTERM, False),
    ("SIGTERM to all its processes", signal.SIGTERM, True),
    ("SIGINT to the stage", signal.SIGINT, False),
    ("SIGINT to all its processes", signal.SIGINT, True),
)
IN_A_ROW = "2 to 4 kills in a row"


def kill(field: Field) -> None:
    """Kill a run at a random moment, now and then several in a row, then let it finish."""
    stage = field.drawn_stage()
    blow = field.draw.choice(BLOWS)
    times = field.draw.randint(2, 4) if field.draw.random() < 0.15 else 1
    folder = field.ground.fresh(stage)
    problems: list[Problem] = []
    struck: list[str] = []
    children: list[Child] = []
    while len(struck) < times:
        child, begun = start_to_strike(field, stage, folder, 1 / times)
        children.append(child)
        ended = _strike(field, stage, child, blow)
        if ended.code == 0:  # it was quicker
            if struck:
                break
            _clear(field, stage, folder)
            continue
        problems += _check_struck(field, stage, folder, ended, begun)
        struck.append(blow[0])
        blow = field.draw.choice(BLOWS)
    problems += field.again(stage, folder)
    alive = [child.pid for child in children if not child.leaves_nothing(LEAVE_S)]
    if alive:
        problems.append(Problem("hung", f"of the killed runs {alive} processes lived on"))
    fault = struck[0] if len(struck) == 1 else IN_A_ROW
    good = field.finish(fault, stage, folder, problems)
    field.tally.kills[stage.name] += 1
    field.tally.survived[stage.name] += good


def ctrl_c(field: Field) -> None:
    """Interrupt a run as a terminal does, all its processes, and see how long it takes to end."""
    stage = field.drawn_stage()
    folder = field.ground.fresh(stage)
    child, begun = start_to_strike(field, stage, folder)
    while not child.is_running():
        child.end(0)
        _clear(field, stage, folder)
        child, begun = start_to_strike(field, stage, folder)
    so_far = child.seconds()
    child.strike(signal.SIGINT, group=True)
    ended = child.end(HUNG_S)
    field.tally.ctrl_c.append((round(ended.seconds - so_far, 3), stage.name))
    problems = _check_interrupted(ended, begun)
    if ended.code == 0:  # all was done, and said, a moment before
        problems = field.ground.check(stage, folder, ended)
    for line in error_lines(ended.err):
        field.tally.saw(CTRL_C, stage.name, line)
    problems += field.again(stage, folder)
    field.finish(CTRL_C, stage, folder, problems)


def start_to_strike(
    field: Field, stage: Stage, folder: Path, share: float = 1.0
) -> tuple[Child, bool]:
    """Start the stage; return it at a random moment, and whether it has begun its work.

    `share`: in the first part of its work, so large.
    """
    slow = field.draw.choice((None, SLOW)) if not stage.script else None
    known = field.ground.reference(stage, slow)
    seen = see(folder)
    child = field.ground.start(stage, folder, slow)
    if known.first_s is None or field.draw.random() < 0.2:
        child.wait(field.draw.uniform(0, known.seconds))
    else:
        child.wait(field.ground.limit_s(stage), seen)
        child.wait(field.draw.uniform(0, (known.seconds - known.first_s) * 0.98 * share))
    return child, seen()


def _clear(field: Field, stage: Stage, folder: Path) -> None:
    """Begin once more with an empty folder."""
    shutil.rmtree(folder)
    folder.mkdir()
    field.ground.fresh(stage, folder)


def _strike(field: Field, stage: Stage, child: Child, blow: Blow) -> Ended:
    """Give a run the blow and see it off; the exit code is 0 where it had ended before."""
    _, number, group = blow
    if child.is_running():
        child.strike(number, group)
    # Who is killed leaves its workers behind; the next run must stand that. Scripts are another
    # matter: the stage that goes on holds its lock, and rightly.
    limit_s = field.ground.limit_s(stage)
    return child.end(limit_s, None if number == signal.SIGKILL and not stage.script else limit_s)


def _check_struck(
    field: Field, stage: Stage, folder: Path, ended: Ended, begun: bool
) -> list[Problem]:
    """Look at how a run ended, and lead what it left past the stage that comes next."""
    if ended.hung:
        return [Problem("hung", f"the signal did not end it: {ended.last_line()}")]
    if begun and "Traceback" in ended.err and not _is_loading(ended):
        field.ground.keep_words(folder, ended)
        return [Problem("wrong", f"a traceback: {ended.last_line()}")]
    return _check_next(field, stage, folder)


def _check_next(field: Field, stage: Stage, folder: Path) -> list[Problem]:
    """Let the next stage have what a broken run left: it must refuse it."""
    if not stage.next or field.draw.random() < 0.7 or not (folder / stage.outputs[0]).is_dir():
        return []
    if is_complete(stage, folder):
        return []
    code = run_next(stage, folder)
    result = folder / stage.next_makes
    if code == 0 or result.exists():
        result.unlink(missing_ok=True)
        record.path_of(result).unlink(missing_ok=True)
        return [Problem("wrong", f"the next stage took what a broken run left (exit code {code})")]
    return []


def _check_interrupted(ended: Ended, begun: bool) -> list[Problem]:
    if ended.hung:
        return [Problem("hung", f"Ctrl-C did not end it in {HUNG_S:.0f} s: {ended.last_line()}")]
    if not begun and ended.code in (-signal.SIGINT, 1) and _is_loading(ended):
        return []
    if ended.code != EXIT_INTERRUPTED:
        return [Problem("wrong", f"exit code {ended.code} after Ctrl-C: {ended.last_line()}")]
    if begun and "same command" not in ended.err:
        return [Problem("wrong", f"no word of how to go on: {ended.last_line()}")]
    return []


def _is_loading(ended: Ended) -> bool:
    """Say whether Python was still loading its own modules: nothing of the project can answer."""
    return ", in enter" not in ended.err
