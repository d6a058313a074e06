"""A folder to an info file: prepared `.bin` files, or pictures with their sizes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import chain, places, record
from pipeline.chain import Standing
from pipeline.errors import PipelineError
from pipeline.formats.info import InfoLine, write_info

STAGE = "get_info"
JPG_EXTENSIONS = (".jpg", ".jpeg")  # in any case


@dataclass(frozen=True)
class Listed:
    """What was listed, and what is to be said of it."""

    count: int
    remarks: tuple[str, ...]


def list_bins(folder: str, info: Path, width: int, height: int) -> Listed:
    """Write the `.bin` files of `folder`, sorted by name, to `info`.

    `width` and `height` are those of the network's input and go into each line. The paths are
    `folder` as it is given and the name. Raises PipelineError where there is none, where their
    sizes differ, and where the folder is not what a complete run has left.
    """
    place = Path(folder)
    files = _files(place)
    made = chain.begin(place, chain.PREPROCESS)
    if made and info.resolve().is_relative_to(place.resolve()):
        raise PipelineError(
            f"{info} would lie in the folder that it lists", "give it a place outside of it"
        )
    sizes = {name: size for name, size in files if name.endswith(".bin")}
    if not sizes:
        raise PipelineError(f"{folder} holds no .bin file", "first run: vovnet_torch_preprocess.py")
    size = _one_size(place, sizes)
    remarks = []
    values = width * height * 3
    if size not in (values, 4 * values):
        remarks.append(
            f"each file has {size} bytes, which is neither {values} (uint8) nor {4 * values} "
            f"(float32) for {width} x {height} x 3"
        )
    lines = [
        InfoLine(index, _join(folder, name), width, height)
        for index, name in enumerate(sorted(sizes))
    ]
    settings = {"mode": "bin", "width": width, "height": height, "bytes_each": size}
    counts = {"given": len(sizes), "passed_over": len(files) - len(sizes)}
    run = record.Run(STAGE, [place], [info], settings, ["Pillow"], counts)
    return _write(run, lines, remarks, lambda now: _standing(place, made, len(sizes), now))


def list_pictures(folder: str, info: Path) -> Listed:
    """Write the JPEG files of `folder`, sorted by name, to `info`, each with its own size.

    Only the headers are read. Raises PipelineError where there is none, and for a file that is no
    picture.
    """
    from pipeline.imagenet.decode import image_size

    files = _files(Path(folder))
    names = sorted(name for name, _ in files if name.lower().endswith(JPG_EXTENSIONS))
    if not names:
        raise PipelineError(
            f"{folder} holds no JPEG file ({', '.join(JPG_EXTENSIONS)})",
            "give the flat folder that holds the images",
        )
    lines = [
        InfoLine(index, _join(folder, name), *image_size(Path(folder, name)))
        for index, name in enumerate(names)
    ]
    counts = {"given": len(names), "passed_over": len(files) - len(names)}
    run = record.Run(STAGE, [Path(folder)], [info], {"mode": "jpg"}, ["Pillow"], counts)
    return _write(run, lines, [], lambda _now: None)


def _write(
    run: record.Run,
    lines: list[InfoLine],
    remarks: list[str],
    look: Callable[[record.Json], Standing | None],
) -> Listed:
    """Write the info file; `look` takes the folder's fingerprint and says how the folder stands."""
    (info,) = run.outputs
    places.check_file(
        info, [Path(line.path) for line in lines if Path(line.path).name == info.name]
    )
    with record.keeping(run):
        standing = look(run.identified()["inputs"][0])
        if standing:
            remarks += _remarks(standing)
            run.details["folder"] = standing.facts()
        write_info(info, lines)
        run.counts["done"] = len(lines)
        run.details["remarks"] = remarks
        run.verdict = f"{len(lines)} files listed"
    return Listed(len(lines), tuple(remarks))


def _standing(folder: Path, made: record.Json | None, files: int, now: record.Json) -> Standing:
    if made is None:
        return chain.unknown(folder, now)
    standing = chain.end(folder, made, now)
    done = chain.count(made["counts"], "done")
    if done not in (None, files):
        raise PipelineError(
            f"{folder} holds {files} .bin files, and its record counts {chain.shown(done)}",
            "run vovnet_torch_preprocess.py again",
        )
    return standing


def _remarks(standing: Standing) -> Iterator[str]:
    if standing.made is None:
        yield "the folder has no record, so its content is unverified"
    elif refused := chain.count(standing.made["counts"], "refused"):
        where = chain.record_of(standing.path)
        yield f"{chain.shown(refused)} images are missing, refused as {where} says"


def _one_size(folder: Path, sizes: dict[str, int]) -> int:
    (usual, _), *others = Counter(sizes.values()).most_common()
    if others:
        odd = min(name for name, size in sizes.items() if size != usual)
        raise PipelineError(
            f"{folder / odd} has {sizes[odd]} bytes where most files have {usual}",
            "files of one folder must be of one size; prepare it again",
        )
    if usual == 0:
        raise PipelineError(f"the .bin files in {folder} are empty", "prepare it again")
    return usual


def _files(folder: Path) -> list[tuple[str, int]]:
    """Return name and size of each file in `folder` that is not hidden."""
    if not folder.is_dir():
        reason = "is no folder" if folder.exists() else "does not exist"
        raise PipelineError(f"{folder} {reason}", "give the folder to list")
    with os.scandir(folder) as entries:
        return [
            (entry.name, entry.stat().st_size)
            for entry in entries
            if not entry.name.startswith(".") and entry.is_file()
        ]


def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name)  # noqa: PTH118  a Path would drop the "./" that was given
