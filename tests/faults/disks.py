"""A disk that fills, one that cannot be written, a folder without permission."""

from __future__ import annotations

import stat

from tests.faults import system
from tests.faults.field import Field
from tests.faults.stages import private
from tests.faults.tally import Problem

FULL = "a full disk"
FILE_LIMIT = "a limit on the size of files"
READ_ONLY = "a disk that cannot be written"
FORBIDDEN = "a folder without permission"
UNREADABLE = "an input without permission"
_PAGE = 4096


def full_disk(field: Field) -> None:
    """Run a stage on a disk that is too small by a random size; then there is room."""
    stage = field.stage()
    needed = field.ground.reference(stage).bytes
    most = needed if field.draw.random() < 0.7 else 20 * _PAGE
    size = _PAGE * field.draw.randint(1, max(2, most // _PAGE))
    place = field.ground.root / f"small disk {field.number}"
    taken = sum((field.ground.given / name).stat().st_size + _PAGE for name in stage.takes)
    with system.disk(place, size + taken) as disk:
        folder = field.ground.fresh(stage, place)
        ended = field.ground.run(stage, folder)
        problems = field.failed_well(FULL, stage, folder, ended)
        disk.grow()
        problems += field.again(stage, folder)
        where = f"try {field.number}, {stage.name}, {size} bytes"
        field.tally.count(FULL, where, problems)


def file_limit(field: Field) -> None:
    """Run a stage that may not write files beyond a random size; then it may."""
    stage = field.stage()
    folder = field.ground.fresh(stage)
    size = int(10 ** field.draw.uniform(3.7, 6))  # what it says goes to a file as well
    ended = field.ground.run(stage, folder, before=system.with_file_size(size))
    problems = field.failed_well(FILE_LIMIT, stage, folder, ended)
    problems += field.again(stage, folder)
    field.finish(FILE_LIMIT, stage, folder, problems)


def read_only_disk(field: Field) -> None:
    """Run a stage where nothing can be written, with an old result or none; then it can."""
    stage = field.stage()
    place = field.ground.root / f"read-only disk {field.number}"
    with system.disk(place, 1 << 30) as disk:
        folder = field.ground.fresh(stage, place)
        disk.forbid_writing()
        ended = field.ground.run(stage, folder)
        problems = field.failed_well(READ_ONLY, stage, folder, ended)
        if ended.code == 0:
            problems.append(Problem("wrong", "it said OK"))
        disk.grow()
        problems += field.again(stage, folder)
        field.tally.count(READ_ONLY, f"try {field.number}, {stage.name}", problems)


def forbidden_folder(field: Field) -> None:
    """Run a stage in a folder that it may not write; then it may."""
    stage = field.stage()
    folder = field.ground.fresh(stage)
    folder.chmod(0o555)
    ended = field.ground.run(stage, folder, before=system.as_plain_user())
    folder.chmod(0o755)
    problems = field.failed_well(FORBIDDEN, stage, folder, ended)
    if ended.code == 0:
        problems.append(Problem("wrong", "it said OK"))
    problems += field.again(stage, folder)
    field.finish(FORBIDDEN, stage, folder, problems)


def unreadable_input(field: Field) -> None:
    """Take the right to read one file of the input; then give it back."""
    stage = field.stage("preprocess", "benchmark text", "benchmark npy", "score")
    folder = private(field.ground, stage)
    place = {"preprocess": "images", "score": "result/dumpOutput_device0"}.get(stage.name, "prep")
    victim = field.draw.choice(sorted((folder.parent / "given" / place).iterdir()))
    mode = stat.S_IMODE(victim.stat().st_mode)
    victim.chmod(0)
    ended = field.ground.run(stage, folder, before=system.as_plain_user())
    victim.chmod(mode)
    problems = field.failed_well(UNREADABLE, stage, folder, ended)
    if ended.code == 0:
        problems.append(Problem("wrong", "it said OK"))
    problems += field.again(stage, folder)
    field.finish(UNREADABLE, stage, folder.parent, problems)
