"""Files that vanish or are cut off while a stage reads them, and an output that vanishes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.faults.field import Field
from tests.faults.ground import Spec, Stage, see
from tests.faults.stages import DUMPS, private

VANISHED = "a file that vanishes midway"
CUT = "a file that is cut off midway"
REMOVED = "the output removed midway"
SLOW: Spec = {"delay_s": 0.015}
_VICTIMS = {
    "preprocess": ("images",),
    "info": ("prep",),
    "score": (DUMPS, "labels.txt"),
}
_OF_BENCHMARK = ("prep", "prep", "prep.info", "vovnet39.onnx")


def vanished(field: Field) -> None:
    """Remove a file of the input while the stage works; then it is back."""
    _damage(field, VANISHED)


def cut(field: Field) -> None:
    """Cut a file of the input short while the stage works; then it is whole again."""
    _damage(field, CUT)


def _damage(field: Field, fault: str) -> None:
    names = ("preprocess", "benchmark text", "score", "benchmark npy", "info", "benchmark binary")
    stage = field.stage(*names)
    folder = private(field.ground, stage)
    victim = _victim(field, stage, folder.parent / "given")
    saved = folder.parent / "saved"
    shutil.copy2(victim, saved)
    known = field.ground.reference(stage, SLOW)
    child = field.ground.start(stage, folder, SLOW)
    if field.draw.random() < 0.8:
        child.wait(known.seconds, see(folder))
        child.wait(field.draw.uniform(0, 0.7) * (known.seconds - (known.first_s or 0)))
    else:
        child.wait(field.draw.uniform(0, known.seconds))
    if fault == VANISHED:
        victim.unlink()
    else:
        with victim.open("rb+") as file:
            file.truncate(field.draw.randrange(victim.stat().st_size))
    ended = child.end(field.ground.limit_s(stage))
    shutil.copy2(saved, victim)  # with its old time
    problems = field.failed_well(fault, stage, folder, ended)
    problems += field.again(stage, folder)
    field.finish(fault, stage, folder.parent, problems)


def _victim(field: Field, stage: Stage, given: Path) -> Path:
    name = field.draw.choice(_VICTIMS.get(stage.name, _OF_BENCHMARK))
    place = given / name
    if not place.is_dir():
        return place
    # One of those that are read late, as a rule.
    files = sorted(place.iterdir())
    return files[int(len(files) * field.draw.uniform(0, 1) ** 0.5)]


def removed(field: Field) -> None:
    """Remove the folder of the output while the stage fills it."""
    stage = field.stage("preprocess", "benchmark text", "benchmark npy", "benchmark binary")
    folder = field.ground.fresh(stage)
    known = field.ground.reference(stage, SLOW)
    child = field.ground.start(stage, folder, SLOW)
    child.wait(known.seconds, see(folder))
    child.wait(field.draw.uniform(0, 1) * (known.seconds - (known.first_s or 0)))
    shutil.rmtree(folder / stage.outputs[0], ignore_errors=True)
    ended = child.end(field.ground.limit_s(stage))
    there = (folder / stage.outputs[0]).exists()
    problems = []
    if ended.code or there:  # else it was removed when all was done
        problems += field.failed_well(REMOVED, stage, folder, ended)
    problems += field.again(stage, folder)
    field.finish(REMOVED, stage, folder, problems)
