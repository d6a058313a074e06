"""Worker processes that are killed or stopped, and too little memory for those asked for."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

from tests.faults import system
from tests.faults.field import Field
from tests.faults.ground import Spec, Stage, see

KILLED = "a worker killed"
STOPPED = "a worker stopped for a while"
CROWDED = "too little memory"
BOUNDED = "a limit on the memory mapped"
SLOW: Spec = {"delay_s": 0.01}
_SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGTERM)
_STOP_S = 1.0


def killed(field: Field) -> None:
    """Kill one of the worker processes, as the kernel does where memory runs out."""
    _strike_worker(field, KILLED, field.draw.choice(_SIGNALS))


def stopped(field: Field) -> None:
    """Stop one of the worker processes, and let it go on."""
    _strike_worker(field, STOPPED, signal.SIGSTOP)


def _strike_worker(field: Field, fault: str, number: signal.Signals) -> None:
    stage = field.stage("preprocess")
    folder = field.ground.fresh(stage)
    known = field.ground.reference(stage, SLOW)
    child = field.ground.start(stage, folder, SLOW)
    child.wait(known.seconds, see(folder))
    child.wait(field.draw.uniform(0, 0.9) * (known.seconds - (known.first_s or 0)))
    workers = child.workers()
    while not workers and child.wait(0.02):
        workers = child.workers()
    if workers:
        victim = field.draw.choice(workers)
        os.kill(victim, number)
        if number == signal.SIGSTOP:
            time.sleep(_STOP_S)
            os.kill(victim, signal.SIGCONT)
    ended = child.end(field.ground.limit_s(stage))
    problems = field.failed_well(fault, stage, folder, ended)
    problems += field.again(stage, folder)
    field.finish(fault, stage, folder, problems)


def crowded(field: Field) -> None:
    """Give a stage a memory in which its workers, or it alone, may find no place."""
    whole = field.stage("preprocess", "benchmark text", "preprocess", "score", "benchmark npy")
    stage = whole
    if whole.name == "preprocess":
        stage = _with_workers(whole, field.draw.choice((1, 2, 4, 16)))
    size = field.draw.randint(40 << 20, (1 if stage is whole else 3) * 400 << 20)
    with system.memory(size) as join:
        if join is None:
            field.tally.leave_out(CROWDED, "this system lets nobody make a memory cgroup")
            return
        folder = field.ground.fresh(stage)
        ended = field.ground.run(stage, folder, before=join)
    problems = field.failed_well(CROWDED, stage, folder, ended, killed=True)
    problems += field.again(whole, folder)
    field.finish(CROWDED, whole, folder, problems)


def bounded(field: Field) -> None:
    """Run a stage that may map no more than a random size of memory; then it may."""
    stage = field.stage()
    folder = field.ground.fresh(stage)
    size = int(10 ** field.draw.uniform(7.7, 9.0))
    ended = field.ground.run(stage, folder, before=system.with_address_space(size))
    problems = field.failed_well(BOUNDED, stage, folder, ended, killed=True)
    problems += field.again(stage, folder)
    field.finish(BOUNDED, stage, folder, problems)


def _with_workers(stage: Stage, count: int) -> Stage:
    return replace(stage, argv=(*stage.argv[:-1], str(count)))
