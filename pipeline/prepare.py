"""Images to the network's input files, on all cores.

Every image becomes one file `<name before the first dot>.bin` in the target folder: float32 (3,
224, 224), 602,112 bytes, normalised; or uint8 (224, 224, 3), 150,528 bytes, resized and cropped
only. A file gets its name when it is whole. The folder's record lists the files that this stage
made there, so that a later run can tell its own old files from those of somebody else.

The folder's ledger has each output with the size and time of its image and its own. A later run
with the same settings, code and packages keeps what is still as it was and makes the rest, be it
after a run that was cut short or after images were added, changed or removed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline import (
    atomic,
    identity,
    ledger,
    machine,
    places,
    prepare_target,
    prepare_worker,
    progress,
    record,
    workers,
)
from pipeline.errors import PipelineError
from pipeline.imagenet import CROP, MEAN, RESIZE, STD
from pipeline.imagenet.folder import ImageItem, ImageSet, find_images
from pipeline.imagenet.labels import label_text
from pipeline.prepare_target import LABEL_FILE, STAGE

DTYPES = ("float32", "uint8")
BYTES = {"float32": 3 * CROP * CROP * 4, "uint8": 3 * CROP * CROP}
CHUNK = 32  # images handed to a worker at a time
# A process has 126 MB at most while it works on a JPEG file of 20 megapixels, and 60 MB as a rule.
WORKER_BYTES = 150_000_000
_PACKAGES = ("numpy", "Pillow", "opencv-python-headless", "simplejpeg")


@dataclass(frozen=True)
class Prepared:
    """What a run did: `refused` has each image that has no output, with the reason.

    `done` counts all images that have one, `kept` those of them that earlier runs have made;
    `seconds` are those of this run.
    """

    done: int
    kept: int
    refused: tuple[tuple[str, str], ...]
    passed_over: int
    labels: Path | None
    seconds: float


@dataclass
class _Tally:
    """How far a run is: each image is done, refused or not done."""

    images: ImageSet
    kept: int = 0
    made: int = 0
    reasons: dict[str, str] = field(default_factory=dict)  # by the names of the missing outputs

    @property
    def done(self) -> int:
        return self.kept + self.made

    def counts(self) -> record.Json:
        given = len(self.images.items)
        return {
            "given": given,
            "done": self.done,
            "kept": self.kept,
            "refused": len(self.reasons),
            "not_done": given - self.done - len(self.reasons),
            "passed_over": self.images.passed_over,
        }

    def refused(self) -> Iterator[tuple[str, str]]:
        """Yield each refused image with the reason, in the order of the images."""
        for item in self.images.items:
            if _output_of(item) in self.reasons:
                yield str(item.path), self.reasons[_output_of(item)]

    def __str__(self) -> str:
        text = f"{self.done} of {len(self.images.items)} images are prepared"
        return f"{text}, {len(self.reasons)} refused" if self.reasons else text


def prepare_folder(
    source: Path,
    target: Path,
    processes: int | None,
    limit: int | None = None,
    dtype: str = "float32",
    force: bool = False,
) -> Prepared:
    """Prepare the images of `source` into `target`, with that many processes or one per core.

    What earlier runs have finished is kept, unless `force` is given. Raises PipelineError where the
    folders are unfit, the memory is too small or a worker dies; an image that cannot be decoded is
    no such error, but counted and named in the record, which then is not `good`.
    """
    started = time.perf_counter()
    prepare_target.refuse_nested(source, target)
    images = find_images(source, limit)
    processes = fitting(processes, len(images.items))
    labels = label_text(_labelled(images)) if images.classes else None
    planned = [_output_of(item) for item in images.items] + ([LABEL_FILE] if labels else [])
    stale = prepare_target.stale_files(target, planned)
    places.make_folder(target)
    tally = _Tally(images)
    settings = _settings(dtype)
    run = record.Run(
        STAGE,
        [source],
        [target],
        settings | {"limit": limit},
        packages=_PACKAGES,
        counts=tally.counts(),
        details={"files": planned + stale},
    )
    with record.keeping(run):
        session = {
            "stage": STAGE,
            "source": str(source.resolve()),
            "settings": settings,
            "code_sha256": identity.code_digest(),
            "versions": run.identified()["versions"],
        }
        if force:
            ledger.remove(target)
        try:
            with _telling_progress(target, tally):
                prepare_target.clear(target, stale)
                with ledger.Ledger(target, session) as book:
                    _fill(book, source, target, tally, processes, dtype)
                    if labels:
                        atomic.write_text(target / LABEL_FILE, labels)
                    prepare_target.check_all_there(target, planned, tally.reasons)
                    seconds = time.perf_counter() - started
                    book.sync()
        finally:
            run.counts = tally.counts()
            run.details |= {
                "refused": [{"path": path, "reason": why} for path, why in tally.refused()],
                "classes": list(images.classes),
            }
        run.details["files"] = [name for name in planned if name not in tally.reasons]
        run.good = not tally.reasons
        run.verdict = f"{tally.done} of {len(images.items)} images prepared"
        run.timings_s = {"prepare": round(seconds, 3)}
    where = target / LABEL_FILE if labels else None
    refused = tuple(tally.refused())
    return Prepared(tally.done, tally.kept, refused, images.passed_over, where, seconds)


def fitting(processes: int | None, images: int) -> int:
    """Return how many processes to start: as many as are asked for, and no more than images.

    Where none are asked for, it is one for each usable core, but no more than there is memory for.
    Raises PipelineError where those asked for do not fit.
    """
    wanted = min(processes or machine.usable_cores(), images)
    free = machine.available_memory()
    most = wanted if free is None else max(1, free // WORKER_BYTES)
    if wanted <= most:
        return wanted
    assert free is not None
    if processes is not None:
        raise PipelineError(
            f"{wanted} workers need {_mb(wanted * WORKER_BYTES)} of memory, "
            f"{_mb(WORKER_BYTES)} each, and {_mb(free)} are free",
            f"give --workers {most} or fewer",
        )
    progress.note(
        f"preprocess: {most} workers instead of {wanted}, for {_mb(free)} of memory are free"
    )
    return most


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _fill(
    book: ledger.Ledger, source: Path, target: Path, tally: _Tally, processes: int, dtype: str
) -> None:
    """Prepare what is not done yet; note in the ledger what gets done, and count it."""
    items = tally.images.items
    todo = [item for item in items if not _is_kept(book.done, source, target, item)]
    tally.kept = len(items) - len(todo)
    by_name = {_output_of(item): item for item in todo}
    processes = min(processes, len(todo))
    progress.detail(
        f"{len(items)} images, {tally.kept} kept from before; {processes} processes on "
        f"{machine.usable_cores()} usable cores"
    )
    with (
        prepare_target.clearing(target),
        workers.running(
            partial(prepare_worker.prepare_chunk, str(target), dtype),
            _chunks(todo, processes),
            processes,
            partial(prepare_worker.give_up, str(target)),
            prepare_worker.load,
        ) as results,
        progress.track("preprocess", len(todo), "images") as update,
    ):
        for answer in results:
            if answer.refused and not source.is_dir():
                raise PipelineError(
                    f"{source} has vanished while its images were read", "bring it back"
                )
            for name, image, output in answer.made:
                key = _within(source, by_name[name])
                book.add(name, image=key, source=image, output=output)
                tally.made += 1
            tally.reasons.update(answer.refused)
            update(tally.made + len(tally.reasons))


def _is_kept(done: dict[str, record.Json], source: Path, target: Path, item: ImageItem) -> bool:
    """Say whether an earlier run has made the output of `item`, of the image as it is now."""
    name = _output_of(item)
    facts = done.get(name)
    if facts is None or facts.get("image") != _within(source, item):
        return False
    try:
        image, output = os.stat(item.path), os.lstat(os.path.join(target, name))  # noqa: PTH116, PTH118
    except OSError:
        return False
    status_of = prepare_worker.status_of
    return facts.get("source") == status_of(image) and facts.get("output") == status_of(output)


def _chunks(items: Sequence[ImageItem], processes: int) -> Iterator[prepare_worker.Chunk]:
    """Yield chunks small enough that all processes get several and end at about the same time."""
    size = max(1, min(CHUNK, len(items) // (8 * max(1, processes))))
    for start in range(0, len(items), size):
        yield [(str(item.path), _output_of(item)) for item in items[start : start + size]]


def _output_of(item: ImageItem) -> str:
    return f"{item.stem}.bin"


def _within(source: Path, item: ImageItem) -> str:
    """Return where an image lies in its folder."""
    return str(item.path).removeprefix(os.path.join(source, ""))  # noqa: PTH118


@contextlib.contextmanager
def _telling_progress(target: Path, tally: _Tally) -> Iterator[None]:
    """Let an error that ends the block say how far the work has come."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(tally)) from error
    except PipelineError as error:
        raise PipelineError(f"{error.what} ({tally})", error.hint) from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not target.is_dir():
            raise PipelineError(
                f"{target} was removed while it was filled", "run the same command again"
            ) from error
        where = os.fsdecode(error.filename) if error.filename else str(target)
        raise OSError(error.errno, error.strerror, f"{where} ({tally})") from error


def _labelled(images: ImageSet) -> Iterator[tuple[str, int]]:
    for item in images.items:
        if item.label is not None:
            yield item.path.name, item.label


def _settings(dtype: str) -> record.Json:
    return {
        "dtype": dtype,
        "shape": [3, CROP, CROP] if dtype == "float32" else [CROP, CROP, 3],
        "resize": RESIZE,
        "crop": CROP,
        "mean": list(MEAN) if dtype == "float32" else None,
        "std": list(STD) if dtype == "float32" else None,
        "pass_order": "horizontal first",
    }
