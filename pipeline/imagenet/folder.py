"""Folders of images: flat, as the guide has them, or one sub-folder per class, as ImageFolder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.imagenet.labels import stem_of

# Source: torchvision.datasets.folder.IMG_EXTENSIONS; in any case.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class ImageItem:
    """One image: where it is, the name of its output before the extension, its class if known."""

    path: Path
    stem: str
    label: int | None


@dataclass(frozen=True)
class ImageSet:
    """The images of a folder, sorted; `classes` is empty for a flat one."""

    items: tuple[ImageItem, ...]
    classes: tuple[str, ...]
    passed_over: int  # files that are no images by their name


def find_images(source: Path, limit: int | None = None) -> ImageSet:
    """Return the images of `source`, at most `limit` of them.

    Of a flat folder these are the first ones by name. Where there are class sub-folders, the labels
    are their positions in sorted order, from 0, and a limit takes the first image of each class,
    then the second, and so on. Names that begin with a dot are passed over. Raises PipelineError
    for a folder that holds no image, images beside sub-folders with images, a class without images,
    two images that would share one output name, and a link to a folder that is listed already.
    Other links are followed, wherever they lead; what is no image in the end is for the decoding
    to refuse.
    """
    if not source.is_dir():
        reason = "is no folder" if source.exists() else "does not exist"
        raise PipelineError(f"{source} {reason}", "give the folder that holds the images")
    names, folders = _list(source)
    images = [name for name in names if _is_image(name)]
    if images:
        _refuse_mixture(source, images[0], folders)
        items = [ImageItem(source / name, stem_of(name), None) for name in images]
        return _checked(items, limit, (), len(names) - len(images) + len(folders))
    items, passed_over = [], len(names)
    for label, folder in enumerate(folders):
        paths = list(_walk(source / folder))
        inside = [path for path in paths if _is_image(path.name)]
        if not inside:
            raise PipelineError(
                f"the class folder {source / folder} holds no image",
                f"remove it, or fill it with {', '.join(EXTENSIONS)}",
            )
        passed_over += len(paths) - len(inside)
        items += [ImageItem(path, stem_of(path.name), label) for path in inside]
    if not items:
        raise PipelineError(
            f"{source} holds no image ({', '.join(EXTENSIONS)})",
            "give the folder that holds the images",
        )
    return _checked(items, limit, tuple(folders), passed_over)


def _checked(
    items: list[ImageItem], limit: int | None, classes: tuple[str, ...], passed_over: int
) -> ImageSet:
    owners: dict[str, Path] = {}
    for item in items:
        owner = owners.setdefault(item.stem, item.path)
        if owner is not item.path:
            raise PipelineError(
                f"{owner} and {item.path} would both become {item.stem}.bin",
                "rename one of them: the name before the first dot has to differ",
            )
    if limit is not None and limit < len(items):
        if classes:
            first = sorted(_turns(items))[:limit]
            items = [items[position] for position in sorted(position for _, position in first)]
        else:
            items = items[:limit]
    return ImageSet(tuple(items), classes, passed_over)


def _turns(items: Iterable[ImageItem]) -> Iterator[tuple[int, int]]:
    """Yield for each image its position within its class and within all."""
    seen: Counter[int | None] = Counter()
    for position, item in enumerate(items):
        yield seen[item.label], position
        seen[item.label] += 1


def _refuse_mixture(source: Path, image: str, folders: list[str]) -> None:
    for folder in folders:
        for path in _walk(source / folder):
            if _is_image(path.name):
                raise PipelineError(
                    f"{source} mixes images ({image}) and class folders with images ({folder})",
                    "give a folder that holds either the one or the other",
                )


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder`, in the order that ImageFolder has them.

    Links to folders are followed. Raises PipelineError where one leads to a folder that has been
    passed already: it would never end, or bring the same images again.
    """

    def stop(error: OSError) -> None:
        raise error

    passed: dict[tuple[int, int], str] = {}
    places = []
    for root, _, names in os.walk(folder, onerror=stop, followlinks=True):
        status = Path(root).stat()
        first = passed.setdefault((status.st_dev, status.st_ino), root)
        if first != root:
            raise PipelineError(f"{root} is the folder {first} once more", "remove the link")
        places.append((root, names))
    for root, names in sorted(places):
        for name in sorted(names):
            yield Path(root, name)


def _list(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the files and of the sub-folders that are not hidden, each sorted."""
    names, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                folders += [] if entry.name.startswith(".") else [entry.name]
            else:
                names.append(entry.name)
    return sorted(names), sorted(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as a link that leads back to itself: an image if its name says so, and broken
        return False


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)
