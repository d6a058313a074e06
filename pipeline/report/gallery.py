"""Pictures of the images that are wrong, as the model saw them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import chain, identity, progress, work_dir
from pipeline.errors import PipelineError, one_line
from pipeline.record import Json
from pipeline.report import words
from pipeline.report.content import Picture, Wrong
from pipeline.report.words import Text

QUALITY = 82  # of the JPEG files


def pictures(wrong: Sequence[Wrong], places: dict[str, Path], why: Text | None) -> list[Picture]:
    """Return the pictures of these images; `places` has the file of each image's name.

    Each is the model's own crop, 224 x 224; `why` says of those without a place why they have none.
    """
    found = []
    with progress.track("look at wrong images", len(wrong), "images") as update:
        for number, one in enumerate(wrong, 1):
            found.append(_picture(one, places.get(one.image), why))
            update(number)
    return found


def _picture(wrong: Wrong, path: Path | None, why: Text | None) -> Picture:
    from PIL import Image

    from pipeline.imagenet import transform

    if path is None:
        return Picture(wrong, "", None, why or words.say("gallery.no_file", image=wrong.image))
    name = one_line(path.name)
    try:
        pixels = transform.prepare_pixels(path)
    except PipelineError as error:
        return Picture(wrong, name, None, words.plain(f"{path.name}: {_reason(error, path)}"))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return Picture(wrong, name, buffer.getvalue(), None)


def _reason(error: PipelineError, path: Path) -> str:
    return error.what.removeprefix(f"{path} ")


@dataclass(frozen=True)
class Images:
    """The files of images by their names before the first dot; `why` there is none of them."""

    files: dict[str, Path]
    why: Text | None = None
    doubt: Text | None = None  # whether they still are those that the model was given


def find(work: work_dir.Work, run: work_dir.Run, given: Path | None) -> Images:
    """Return the images that a run was of.

    `given` is the folder that the user names, and PipelineError says what is wrong with it; else
    the records of the run and of the folder's stages say where the images were.
    """
    if given is not None:
        return Images(_by_name(given))
    reasons = []
    for entry, made in _recorded(work, run):
        place = work_dir.opened(entry.get("path"), made, work.folder)
        shown = one_line(str(entry.get("path")))
        if place is None:
            reasons.append(words.say("gallery.gone", folder=shown))
            continue
        try:
            files = _by_name(place)
            same = identity.is_unchanged(entry | {"path": str(place)})
        except (PipelineError, OSError) as error:
            reasons.append(words.plain(error))
            continue
        return Images(files, doubt=None if same else words.say("gallery.changed", folder=shown))
    return Images({}, reasons[0] if reasons else words.say("gallery.unknown"))


def _recorded(work: work_dir.Work, run: work_dir.Run) -> Iterator[tuple[Json, Json]]:
    """Yield the folders of images that records name, each with that record."""
    scored = run.score.made if run.score else {}
    for folder in chain.field(_links(run), list, "folders") or []:
        if entry := chain.field(folder, dict, "made_of", 0):
            yield entry, scored
    for stage in (chain.PREPROCESS, chain.LIST):
        made = work.made_by(stage)
        pictures = made and (stage != chain.LIST or made["settings"].get("mode") == "jpg")
        if made and pictures and made["inputs"]:
            yield made["inputs"][0], made


def _links(run: work_dir.Run) -> Json:
    return chain.field(run.score.made if run.score else {}, dict, "details", "chain") or {}


def _by_name(folder: Path) -> dict[str, Path]:
    from pipeline.imagenet.folder import find_images

    return {one_line(item.stem): item.path for item in find_images(folder).items}
