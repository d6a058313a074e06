"""What the runner is given, checked to the last file before anything runs."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import chain, progress
from pipeline.chain import Listing
from pipeline.engines import TensorInfo
from pipeline.errors import PipelineError
from pipeline.formats import info
from pipeline.imagenet import CROP
from pipeline.imagenet.labels import stem_of

_IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"))
_CHANNELS = (1, 3, 4)
_MOST_FOLDERS = 16


@dataclass(frozen=True)
class Inputs:
    """The samples of a run, in the order of the info file; sizes in bytes."""

    info: Path
    images: bool
    paths: Sequence[str]
    stems: Sequence[str]
    sizes: Sequence[int]
    listing_sha256: str  # of all paths, sizes and modification times
    folders: Sequence[Path]

    def recorded_folders(self, output: Path) -> list[Path]:
        """Return the folders a record can keep a fingerprint of: few, and not around `output`."""
        if len(self.folders) > _MOST_FOLDERS:
            return []
        inside = output.resolve()
        return [f for f in self.folders if not inside.is_relative_to(f.resolve())]


def read(path: Path, images: bool, dump_folder: Path) -> Inputs:
    """Read the info file `path` and look at every file that it lists.

    `images` says that it lists images, not tensors. Raises PipelineError where it lists the other
    kind, one name twice, a file that is missing or no file, or one in `dump_folder`.
    """
    lines = info.read_info(path)
    if not lines:
        raise PipelineError(f"{path} lists no files", "make it again with get_info.py")
    paths = [line.path for line in lines]
    _check_kind(path, paths, images)
    stems = _stems(path, paths, images)
    sizes, listing = _look_at(path, paths)
    folders = sorted({Path(p).parent for p in paths})
    if any(folder.resolve() == dump_folder.resolve() for folder in folders):
        raise PipelineError(
            f"{path} lists files in {dump_folder}, where the results go",
            "move them, or take another -device_id",
        )
    return Inputs(path, images, paths, stems, sizes, listing, folders)


def check_size(model: TensorInfo, width: int | None, height: int | None) -> None:
    """Raise PipelineError where the model does not take images of `width` and `height`."""
    if width is None and height is None:
        return
    spatial = _height_and_width(model)
    if spatial is None:
        raise PipelineError(
            f"the model's input {model.name!r} ({describe(model)}) has no width and height",
            "leave out -input_width and -input_height",
        )
    for flag, given, own in (("width", width, spatial[1]), ("height", height, spatial[0])):
        if given is not None and given != own:
            raise PipelineError(
                f"input size mismatch: -input_{flag} is {given}, and the model's input"
                f" {model.name!r} has the {flag} {own}",
                f"give -input_{flag}={own}, or the model for {given}",
            )


def check_tensors(inputs: Inputs, model: TensorInfo) -> None:
    """Raise PipelineError unless every tensor file has the bytes of one sample of the model."""
    wanted = _sample_bytes(model)
    wrong = [i for i, size in enumerate(inputs.sizes) if size != wanted]
    if not wrong:
        return
    first = wrong[0]
    more = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
    raise PipelineError(
        f"input size mismatch: {inputs.paths[first]} has {inputs.sizes[first]} bytes{more}, and the"
        f" model takes {wanted} per sample ({describe(model)})",
        _size_hint(inputs.sizes[first], wanted),
    )


def check_images(model: TensorInfo) -> None:
    """Raise PipelineError unless the ImageNet transform yields what the model takes."""
    kind = (model.dtype.name, model.shape[1:])
    if kind not in (("float32", (3, CROP, CROP)), ("uint8", (CROP, CROP, 3))):
        raise PipelineError(
            f"with -useDvpp=true the model's input must be float32 3x{CROP}x{CROP} or"
            f" uint8 {CROP}x{CROP}x3, and it is {describe(model)}",
            "prepare the tensors yourself and give -useDvpp=false",
        )


def check_records(inputs: Inputs, model: TensorInfo) -> Listing:
    """Compare info file and tensors with their records; say how they stand.

    There is a line for each that is unverified. Raises PipelineError where a folder's run did not
    end well, where it holds something else than at that run's end or than when it was listed, and
    where it holds other tensors than the model's.
    """
    needs = {"dtype": model.dtype.name, "shape": list(model.shape[1:])}
    found = chain.listing(inputs.info, inputs.folders, None if inputs.images else needs)
    for doubt in found.doubts:
        progress.note(f"{doubt}, so it is taken as it is")
    return found


def describe(model: TensorInfo) -> str:
    """Return dtype and shape of one sample, as in `float32 3x224x224`."""
    return f"{model.dtype.name} {'x'.join(str(size) for size in model.shape[1:])}"


def _check_kind(path: Path, paths: Sequence[str], images: bool) -> None:
    for given in paths:
        is_image = Path(given).suffix.lower() in _IMAGE_SUFFIXES
        if is_image and not images:
            raise PipelineError(
                f"{path} lists an image ({given}), and -useDvpp=false takes prepared tensors",
                "give -useDvpp=true, or prepare them and run get_info.py bin",
            )
        if images and Path(given).suffix.lower() == ".bin":
            raise PipelineError(
                f"{path} lists a tensor ({given}), and -useDvpp=true takes images",
                "give -useDvpp=false, or make the info file with get_info.py jpg",
            )


def _stems(path: Path, paths: Sequence[str], images: bool) -> list[str]:
    """Return the names of the results: an image's are those of the tensor made of it."""
    owners: dict[str, str] = {}
    for given in paths:
        name = Path(given).name
        stem = stem_of(name) if images else Path(given).stem
        if not stem:
            raise PipelineError(f"{path}: {given!r} has no name before its first dot", "rename it")
        if stem in owners:
            raise PipelineError(
                f"{path}: {owners[stem]} and {given} would write the same result, {stem}_1",
                "give the files names that differ, or list each only once",
            )
        owners[stem] = given
    return list(owners)


def _look_at(path: Path, paths: Sequence[str]) -> tuple[list[int], str]:
    """Return the size of every file and one digest of them all."""
    digest = hashlib.sha256()
    sizes, missing = [], []
    for given in paths:
        try:
            status = os.stat(given)  # noqa: PTH116 (fifty thousand times; a Path costs as much)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(given)
            continue
        if not stat.S_ISREG(status.st_mode):
            raise PipelineError(f"{path} lists {given}, which is not a file", "make it again")
        sizes.append(status.st_size)
        entry = b"\0%d %d\0" % (status.st_size, status.st_mtime_ns)
        digest.update(os.fsencode(given) + entry)
    if missing:
        more = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
        raise PipelineError(
            f"{path} lists {missing[0]}, which does not exist{more}",
            "paths are relative to the current folder; run from there, or make the info file again",
        )
    return sizes, digest.hexdigest()


def _height_and_width(model: TensorInfo) -> tuple[int | None, int | None] | None:
    """Return the spatial sizes of an image input, which has its channels first or last."""
    if len(model.shape) != 4:
        return None
    if model.shape[1] in _CHANNELS:
        return model.shape[2], model.shape[3]
    return (model.shape[1], model.shape[2]) if model.shape[3] in _CHANNELS else None


def _sample_bytes(model: TensorInfo) -> int:
    return model.dtype.itemsize * int(np.prod([size or 0 for size in model.shape[1:]]))


def _size_hint(got: int, wanted: int) -> str:
    if got * 4 == wanted:
        return "these look like uint8 pixels: give a model with a uint8 input, or make them again"
    if got == wanted * 4:
        return "these look like float32 tensors: give a model with a float32 input"
    if got and got % wanted == 0:
        return f"each file holds one sample, not {got // wanted}"
    return "give the model for these tensors, or make them again for this model"
