"""The `.bin` files of another pipeline: whether each image has its own, and what is in them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import progress
from pipeline.diagnose.findings import DIFFERS, SAME, Step, some
from pipeline.errors import PipelineError
from pipeline.formats.info import read_info
from pipeline.imagenet.folder import ImageItem
from pipeline.imagenet.labels import stem_of
from pipeline.imagenet.transform import prepare_pixels

STEP = "files"
_SUFFIXES = (".bin", ".npy", ".raw")
_PROBE = 1 << 14  # bytes of a file that are read to see whether another begins and goes on alike
_MOST_BYTES = 1 << 26  # of a prepared file


@dataclass(frozen=True)
class Bins:
    """Prepared files by the name of their image; `listed` is their order, where a list has one."""

    where: Path
    paths: Mapping[str, Path]
    listed: Sequence[str]
    twice: Sequence[str] = ()
    missing: Sequence[Path] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)


def from_folder(folder: Path) -> Bins:
    """Return the prepared files in `folder`; PipelineError where there is none."""
    if not folder.is_dir():
        reason = "is no folder" if folder.exists() else "does not exist"
        raise PipelineError(f"{folder} {reason}", "give the folder of the .bin files")
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.name.endswith(_SUFFIXES) and e.is_file())
    return _bins(folder, [folder / name for name in names if not name.startswith(".")])


def from_info(info: Path) -> Bins:
    """Return the prepared files that an info file lists; PipelineError where it lists none."""
    return _bins(info, [Path(line.path) for line in read_info(info)])


def _bins(where: Path, paths: Sequence[Path]) -> Bins:
    found: dict[str, Path] = {}
    sizes: dict[str, int] = {}
    twice, missing, listed = [], [], []
    for path in paths:
        stem = stem_of(path.name)
        try:
            size = path.stat().st_size if path.is_file() else -1
        except OSError:
            size = -1
        if size < 0:
            missing.append(path)
            continue
        listed.append(stem)
        if stem in found:
            twice.append(stem)
        found.setdefault(stem, path)
        sizes[stem] = size
    if not found:
        besides = f": {missing[0]} is not there" if missing else ""
        raise PipelineError(
            f"{where} has no prepared file ({', '.join(_SUFFIXES)}){besides}",
            "give the folder of the .bin files with --bins, or their list with --info",
        )
    return Bins(where, found, listed, twice, missing, sizes)


def read(path: Path) -> bytes:
    """Return the content of a prepared file; PipelineError where it is far too large."""
    if path.stat().st_size > _MOST_BYTES:
        raise PipelineError(f"{path} has more than {_MOST_BYTES >> 20} MiB", "give prepared files")
    return path.read_bytes()


def examine(bins: Bins, items: Sequence[ImageItem]) -> Step:
    """Say whether every image has one prepared file, all of one size, and none twice."""
    images = {item.stem: item for item in items}
    without = [stem for stem in images if stem not in bins.paths]
    extra = [stem for stem in bins.paths if stem not in images]
    usual = Counter(bins.sizes.values()).most_common(1)[0][0]
    odd = [stem for stem, size in bins.sizes.items() if size != usual]
    copies = _copies(bins, images)
    both = f"{len(images) - len(without)} of {len(images)} images have a prepared file"
    problems = []
    if len(without) == len(images):
        problems.append((len(extra), f"no .bin file has the name of an image ({some(extra)})"))
    # Who prepared a part only, did so on purpose; who lacks a few, did not.
    elif without and len(without) * 2 <= len(images):
        problems.append((len(without), f"{_count(without, 'image')} without a .bin file"))
    if extra and len(without) < len(images):
        problems.append((len(extra), f"{_count(extra, '.bin file')} of no image"))
    if odd:
        size = f"{bins.sizes[odd[0]]:,} bytes, not {usual:,}"
        problems.append((len(odd), f"{_count(odd, '.bin file')} of another size, {size}"))
    if bins.missing:
        names = [path.name for path in bins.missing]
        problems.append((len(names), f"{_count(names, 'file')} listed and not there"))
    if bins.twice:
        problems.append((len(bins.twice), f"{_count(bins.twice, 'image')} listed twice"))
    if copies:
        pairs = [f"{a} and {b}" for a, b in copies]
        problems.append(
            (
                len(pairs),
                f"{_count(pairs, 'pair')} of .bin files alike to the last byte,"
                " and their images are not",
            )
        )
    figures = {"images": len(images), "files": len(bins.paths), "bytes_each": usual}
    if not problems:
        return Step(STEP, SAME, f"{usual:,} bytes each", both, figures=figures)
    said = "; ".join(text for _, text in problems)
    return Step(
        STEP,
        DIFFERS,
        f"{sum(count for count, _ in problems)} files",
        f"{both}; {said}",
        f"the .bin files are not those of the images: {said}",
        "prepare the images anew into an empty folder, and list that folder anew",
        figures,
    )


def _count(names: Sequence[str], noun: str) -> str:
    plural = noun if len(names) == 1 else f"{noun}s"
    return f"{len(names)} {plural} ({some(names)})"


def _copies(bins: Bins, images: Mapping[str, ImageItem]) -> list[tuple[str, str]]:
    """Return pairs of files with the same bytes, whose images have not the same."""
    probes: dict[tuple[int, bytes], list[str]] = defaultdict(list)
    with progress.track("looking for copies", len(bins.paths), "files") as done:
        for number, (stem, path) in enumerate(bins.paths.items(), 1):
            if stem in images:
                probes[bins.sizes[stem], _probe(path, bins.sizes[stem])].append(stem)
            done(number)
    pairs = []
    for stems in probes.values():
        wholes: dict[bytes, str] = {}
        for stem in stems if len(stems) > 1 else ():
            digest = _digest(bins.paths[stem])
            first = wholes.setdefault(digest, stem)
            if first != stem and not _are_alike(images[first].path, images[stem].path):
                pairs.append((first, stem))
    return pairs


def _are_alike(one: Path, other: Path) -> bool:
    """Say whether two images come to the same pixels, whatever their files are."""
    if _digest(one) == _digest(other):
        return True
    try:
        return prepare_pixels(one).tobytes() == prepare_pixels(other).tobytes()
    except PipelineError:  # what cannot be decoded is told elsewhere
        return True


def _probe(path: Path, size: int) -> bytes:
    """Return some bytes from the middle: the edges of many pictures are alike."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.pread(handle, _PROBE, max(0, size // 2 - _PROBE // 2))
    finally:
        os.close(handle)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
