"""Images to the network's input files, on all cores.

Every image becomes one file `<name before the first dot>.bin` in the target folder: float32 (3,
224, 224), 602,112 bytes, normalised; or uint8 (224, 224, 3), 150,528 bytes, resized and cropped
only. A file gets its name when it is whole. The folder's record lists the files that this stage
made there, so that a later run can tell its own old files from those of somebody else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import places, progress, record, workers
from pipeline.errors import PipelineError
from pipeline.imagenet import CROP, MEAN, RESIZE, STD
from pipeline.imagenet.folder import ImageItem, ImageSet, find_images
from pipeline.imagenet.labels import write_labels

STAGE = "preprocess"
LABEL_FILE = "val_label.txt"
DTYPES = ("float32", "uint8")
BYTES = {"float32": 3 * CROP * CROP * 4, "uint8": 3 * CROP * CROP}
CHUNK = 32  # images handed to a worker at a time
UNFINISHED = ".preprocess-{}.partial"  # with the worker's process number

Chunk = list[tuple[str, str]]  # image, name of its output


@dataclass(frozen=True)
class Prepared:
    """What a run did: `refused` has each image that has no output, with the reason."""

    done: int
    refused: tuple[tuple[str, str], ...]
    passed_over: int
    labels: Path | None
    seconds: float


def prepare_folder(
    source: Path, target: Path, processes: int, limit: int | None = None, dtype: str = "float32"
) -> Prepared:
    """Prepare the images of `source` into `target` with that many processes.

    Raises PipelineError where the folders are unfit or a worker dies; an image that cannot be
    decoded is no such error, but counted and named in the record, which then is not `good`.
    """
    started = time.perf_counter()
    _refuse_nested(source, target)
    images = find_images(source, limit)
    labels = target / LABEL_FILE if images.classes else None
    planned = [f"{item.stem}.bin" for item in images.items] + ([LABEL_FILE] if labels else [])
    stale = _stale_files(target, planned)
    places.make_folder(target)
    run = record.Run(
        STAGE,
        [source],
        [target],
        _settings(dtype, limit),
        packages=["numpy", "Pillow", "opencv-python-headless", "simplejpeg"],
        details={"files": planned + stale},
    )
    with record.keeping(run):
        try:
            _remove(target, stale)
            refused = _run(images, target, min(processes, len(images.items)), dtype)
        finally:
            _remove(target, [path.name for path in target.glob(UNFINISHED.format("*"))])
        if labels:
            write_labels(labels, _labelled(images))
        lost = {f"{item.stem}.bin" for item in images.items if str(item.path) in refused}
        done = len(images.items) - len(refused)
        run.details = {
            "files": [name for name in planned if name not in lost],
            "refused": [{"path": path, "reason": reason} for path, reason in refused.items()],
            "classes": list(images.classes),
        }
        run.counts = {
            "given": len(images.items),
            "done": done,
            "refused": len(refused),
            "passed_over": images.passed_over,
        }
        run.good = not refused
        run.verdict = f"{done} of {len(images.items)} images prepared"
    seconds = time.perf_counter() - started
    return Prepared(done, tuple(refused.items()), images.passed_over, labels, seconds)


def _run(images: ImageSet, target: Path, processes: int, dtype: str) -> dict[str, str]:
    """Prepare all images; return the refused ones in their order, each with the reason."""
    total = len(images.items)
    done = 0
    reasons: dict[str, str] = {}
    work = partial(_prepare_chunk, str(target), dtype)
    with progress.track("preprocess", total, "images") as update:
        for count, refused in workers.run_chunks(work, _chunks(images.items, processes), processes):
            done += count
            reasons.update(refused)
            update(done)
    if done != total:
        raise PipelineError(f"{total} images were given and {done} accounted for")
    return {str(i.path): reasons[str(i.path)] for i in images.items if str(i.path) in reasons}


def _prepare_chunk(target: str, dtype: str, chunk: Chunk) -> tuple[int, dict[str, str]]:
    """Prepare one chunk, within a worker; return how many images it had, and the refused ones."""
    from pipeline.imagenet import transform

    make = transform.prepare if dtype == "float32" else transform.prepare_pixels
    unfinished = os.path.join(target, UNFINISHED.format(os.getpid()))  # noqa: PTH118
    refused: dict[str, str] = {}
    for image, name in chunk:
        workers.leave_if_orphaned()
        output = os.path.join(target, name)  # noqa: PTH118
        try:
            values = make(Path(image))
        except PipelineError as error:
            refused[image] = error.what.removeprefix(f"{image} ")
            Path(output).unlink(missing_ok=True)  # an earlier run's; it is not of this image
            continue
        _write(unfinished, output, values.data.cast("B"))
    return len(chunk), refused


def _write(unfinished: str, output: str, data: memoryview) -> None:
    """Write `data` and give it its name. Plain calls: there may be 50,000 of these files."""
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        while data:
            data = data[os.write(handle, data) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, output) from error
    finally:
        os.close(handle)
    os.replace(unfinished, output)  # noqa: PTH105


def _chunks(items: Sequence[ImageItem], processes: int) -> Iterator[Chunk]:
    """Yield chunks small enough that all processes get several and end at about the same time."""
    size = max(1, min(CHUNK, len(items) // (8 * processes)))
    for start in range(0, len(items), size):
        yield [(str(item.path), f"{item.stem}.bin") for item in items[start : start + size]]


def _stale_files(target: Path, planned: Sequence[str]) -> list[str]:
    """Return what an earlier run left in `target` and this one does not make again.

    Raises PipelineError where `target` holds files of others that would pass for outputs.
    """
    if not target.exists():
        return []
    if not target.is_dir():
        raise PipelineError(f"{target} is no folder", "name another one for the outputs")
    known = record.load(target)
    ours: set[str] = set()
    if known is not None and known.get("stage") == STAGE:
        ours = set(known.get("details", {}).get("files", ()))
    names = {entry.name for entry in os.scandir(target)}
    kept = {name for name in names if name.endswith(".bin") or name == LABEL_FILE}
    foreign = kept - ours - {name for name in planned if name != LABEL_FILE}
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise PipelineError(
            f"{target} holds {min(foreign)}{others}, which this program did not make",
            "choose another folder, or remove them",
        )
    return sorted((kept & ours) - set(planned))


def _refuse_nested(source: Path, target: Path) -> None:
    inner, outer = target.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise PipelineError(
            f"the output folder {target} lies in the image folder {source}",
            "name one outside of it",
        )


def _labelled(images: ImageSet) -> Iterator[tuple[str, int]]:
    for item in images.items:
        if item.label is not None:
            yield item.path.name, item.label


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _settings(dtype: str, limit: int | None) -> record.Json:
    return {
        "dtype": dtype,
        "shape": [3, CROP, CROP] if dtype == "float32" else [CROP, CROP, 3],
        "resize": RESIZE,
        "crop": CROP,
        "mean": list(MEAN) if dtype == "float32" else None,
        "std": list(STD) if dtype == "float32" else None,
        "pass_order": "horizontal first",
        "limit": limit,
    }
