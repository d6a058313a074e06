"""What is compared: the runs of a work folder, or one run that a file of it names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import work_dir
from pipeline.errors import PipelineError
from pipeline.work_dir import Run, Work

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_WHAT = "give a work folder, or a result*.json or perf_*.txt file in one"


@dataclass(frozen=True)
class Side:
    """One of those compared; `single` where a file names its only run."""

    letter: str
    given: Path
    work: Work
    runs: tuple[Run, ...]
    single: bool


@dataclass(frozen=True)
class Pair:
    """A run of the base and the one that is compared with it."""

    base: Run
    other: Run

    @property
    def batch_sizes(self) -> tuple[int | None, int | None]:
        """The batch sizes of the two; None where nothing tells."""
        return self.base.batch_size, self.other.batch_size


def read(given: Sequence[Path], batch_size: int | None = None) -> list[Side]:
    """Return what is compared, the base first; of folders only runs of `batch_size`, if given.

    PipelineError where there is no run, where a folder has two scores or two speeds of one batch
    size, and where `batch_size` stands beside a file, which names its run already.
    """
    return [_side(*one, batch_size) for one in zip(LETTERS, given, strict=False)]


def _side(letter: str, given: Path, batch_size: int | None) -> Side:
    if given.is_dir():
        work = work_dir.read(given)
        runs = [run for run in work.runs if batch_size in (None, run.batch_size)]
        if not runs:
            sizes = ", ".join(str(run.batch_size or "unknown") for run in work.runs)
            raise PipelineError(
                f"{given} has no run of batch size {batch_size}", f"those there are of {sizes}"
            )
        _refuse_two_alike(given, runs)
        return Side(letter, given, work, tuple(runs), single=False)
    if not given.is_file():
        raise PipelineError(f"{given} is neither a folder nor a file", _WHAT)
    if batch_size is not None:
        raise PipelineError(
            f"{given} names one run already", "--batch-size chooses among those of a work folder"
        )
    folder = given.resolve().parent
    work = work_dir.read(folder.parent if folder.name == "result" else folder)
    for run in work.runs:
        if any(file.samefile(given) for file in _files(run)):
            return Side(letter, given, work, (run,), single=True)
    raise PipelineError(f"{given} is neither a score nor a speed of a run", _WHAT)


def _files(run: Run) -> Iterator[Path]:
    for one in (run.score, run.speed):
        if one:
            yield one.file


def _refuse_two_alike(given: Path, runs: Sequence[Run]) -> None:
    """Raise PipelineError where it is open which of two runs is meant."""
    for what in ("score", "speed"):
        found = defaultdict(list)
        for run in runs:
            if one := getattr(run, what):
                found[run.batch_size].append(one.file)
        for size, files in found.items():
            if len(files) > 1:
                names = " and ".join(str(file.relative_to(given)) for file in files[:2])
                which = f"of batch size {size}" if size else "of unknown batch size"
                raise PipelineError(
                    f"{given} has {len(files)} {what}s {which}: {names}",
                    f"give the file of one instead of the folder, as in {files[-1]}",
                )


def scored(base: Side, other: Side) -> list[Pair]:
    """Return the runs whose scores are compared: those of one batch size.

    Where no batch size is in both, they are the first of each: the answers to the same images
    should not depend on it.
    """

    def has_score(run: Run) -> bool:
        return run.score is not None

    found = _of_one_size(base, other, has_score)
    first = [next(filter(has_score, side.runs), None) for side in (base, other)]
    if not found and first[0] and first[1]:
        found = [Pair(first[0], first[1])]
    return found


def timed(base: Side, other: Side) -> list[Pair]:
    """Return the runs whose speeds are compared: of one batch size, or two that were named."""
    if base.single and other.single:
        named = Pair(base.runs[0], other.runs[0])
        return [named] if named.base.speed and named.other.speed else []
    return _of_one_size(base, other, lambda run: run.speed is not None)


def _of_one_size(base: Side, other: Side, fits: Callable[[Run], bool]) -> list[Pair]:
    there = {run.batch_size: run for run in other.runs if fits(run)}
    return [
        Pair(run, there[run.batch_size])
        for run in base.runs
        if fits(run) and run.batch_size in there
    ]
