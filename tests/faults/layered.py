"""Runs under the layer: a failing and slow file system, clocks that jump; and a power cut."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipeline import ledger
from tests.faults.field import Field
from tests.faults.ground import Spec, Stage, ledger_items, see
from tests.faults.stages import CLASSES, private

FAILING = "a slow and failing file system (stand-in)"
CLOCK = "a clock that jumps"
TIMES = "files from the future and the past"
POWER = "a power cut"
DAY_S = 86400


def failing(field: Field) -> None:
    """Let calls fail at random, once or several times; then the file system is well again."""
    stage = field.stage()
    if stage.script:  # its commands choose their own PYTHONPATH
        stage = field.stage("preprocess")
    folder = field.ground.fresh(stage)
    problems = []
    for _ in range(field.draw.randint(1, 2)):
        spec: Spec = {
            "seed": field.draw.randrange(1 << 30),
            "delay_s": field.draw.choice((0, 0, 0.001, 0.004)),
            "rate": 10 ** field.draw.uniform(-3, -0.7),
            "errors": field.draw.choice((["EIO"], ["ENOSPC"], ["EIO", "ENOSPC", "EDQUOT"])),
            "short": field.draw.choice((0, 0.2)),
        }
        ended = field.ground.run(stage, folder, spec=spec)
        problems += field.failed_well(FAILING, stage, folder, ended)
    problems += field.again(stage, folder)
    field.finish(FAILING, stage, folder, problems)


def clock(field: Field) -> None:
    """Let the time of day jump by a day, back and forth; now and then kill the run, too."""
    stage = field.stage()
    folder = field.ground.fresh(stage)
    spec: Spec = {"clock_s": field.draw.choice((DAY_S, 366 * DAY_S)), "seed": field.number}
    problems = []
    if field.draw.random() < 0.5:
        known = field.ground.reference(stage)
        child = field.ground.start(stage, folder, spec)
        child.wait(field.draw.uniform(0.3, 1) * known.seconds)
        child.strike(signal.SIGKILL, group=True)
        child.end(field.ground.limit_s(stage))
    ended = field.ground.run(stage, folder, spec=spec)
    problems += field.failed_well(CLOCK, stage, folder, ended)
    if ended.code:
        problems += field.ground.check(stage, folder, ended)
    problems += field.again(stage, folder)
    field.finish(CLOCK, stage, folder, problems)


def times(field: Field) -> None:
    """Give the input times of the future or of 1970, kill a run, and let it go on."""
    stage = field.stage("preprocess", "benchmark text", "score", "benchmark npy")
    folder = private(field.ground, stage)
    now = time.time()
    given = folder.parent / "given"
    # Of what stages have made their records know the times.
    for path in (given / "labels.txt", given / "vovnet39.onnx", *(given / "images").iterdir()):
        if field.draw.random() < 0.9:
            when = now + field.draw.choice((-now, -DAY_S, 0, 3600, DAY_S, 3650 * DAY_S))
            os.utime(path, (when, when))
    known = field.ground.reference(stage)
    seen = see(folder)
    child = field.ground.start(stage, folder)
    child.wait(known.seconds, seen)
    child.wait(field.draw.uniform(0, 1) * (known.seconds - (known.first_s or 0)))
    child.strike(signal.SIGKILL, group=True)
    child.end(field.ground.limit_s(stage))
    problems = field.again(stage, folder)
    field.finish(TIMES, stage, folder.parent, problems)


def power_cut(field: Field) -> None:
    """Kill a run, spoil what had not reached the disk, and go on in another boot."""
    stage = field.stage("preprocess", "benchmark text", "benchmark npy", "benchmark binary")
    folder = field.ground.fresh(stage)
    # The clock by which the ledger brings files to the disk now and then runs faster: every 50 ms.
    spec: Spec = {"delay_s": 0.004, "boot": "the first", "haste": field.draw.choice((0, 600))}
    known = field.ground.reference(stage, {"delay_s": 0.004})
    seen = see(folder)
    child = field.ground.start(stage, folder, spec)
    child.wait(field.ground.limit_s(stage), seen)
    child.wait(field.draw.uniform(0.1, 1) * (known.seconds - (known.first_s or 0)))
    child.strike(signal.SIGKILL, group=True)
    child.end(field.ground.limit_s(stage))
    _spoil(field, stage, folder)
    ended = field.ground.run(stage, folder, spec={"boot": "the second"})
    field.finish(POWER, stage, folder, field.ground.check(stage, folder, ended))


def _spoil(field: Field, stage: Stage, folder: Path) -> None:
    """Spoil what the ledger does not call durable, and the end of the ledger itself.

    A file system may have kept names, sizes and times, and lost the content. Files that have been
    brought to the disk one by one, as whole arrays and their names are, are left alone.
    """
    place = folder / stage.items
    if not place.is_dir():
        return
    durable = [item for item in ledger_items(folder, stage) if item.get("durable")]
    marks = set().union(*map(_marks_in, durable)) if durable else set()
    for path in sorted(place.iterdir()):
        status = path.stat()
        if path.suffix == ".partial" and path.stem.endswith(".npy"):
            _spoil_rows(field, path, {int(item["item"]) for item in durable})
        elif not path.name.startswith("results") and _mark(status) not in marks:
            path.write_bytes(_spoilt(field, path.read_bytes()))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    _cut_ledger(field, ledger.path_of(place))


def _mark(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _marks_in(entry: object) -> set[tuple[int, int]]:
    """Return every pair of a size and a time that stands in an item of a ledger."""
    if isinstance(entry, dict):
        entry = list(entry.values())
    if not isinstance(entry, list):
        return set()
    if len(entry) == 2 and all(isinstance(one, int) for one in entry):
        return {(entry[0], entry[1])}
    return set().union(*map(_marks_in, entry))


def _spoil_rows(field: Field, path: Path, durable: set[int]) -> None:
    """Spoil the rows of all batches of an array but the durable ones."""
    data = bytearray(path.read_bytes())
    batch = 4 * CLASSES * 4  # of the stage's flags: 4 samples, float32
    start = len(data) % (CLASSES * 4)
    for number, first in enumerate(range(start, len(data), batch)):
        if number not in durable:
            data[first : first + batch] = _spoilt(field, bytes(data[first : first + batch]), True)
    path.write_bytes(data)


def _spoilt(field: Field, content: bytes, keep_size: bool = False) -> bytes:
    half = content[: len(content) // 2].ljust(len(content), b"\0")
    ways = [bytes(len(content)), half, field.draw.randbytes(len(content))]
    return field.draw.choice(ways if keep_size else [*ways, b""])


def _cut_ledger(field: Field, path: Path) -> None:
    """Lose an end of the ledger that had not reached the disk, or fill it with zeros."""
    if not path.exists():
        return
    data = path.read_bytes()
    safe = data.rfind(b'{"durable"')
    safe = data.find(b"\n", safe) + 1 if safe >= 0 else 0
    at = field.draw.randint(safe, len(data))
    path.write_bytes(data[:at] + field.draw.choice((b"", bytes(len(data) - at))))
