"""Make the sample: pictures in many forms, their labels, and a checkpoint that tells them apart."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import atomic, identity, ledger, lock, machine, places, progress, record
from pipeline.errors import PipelineError
from pipeline.imagenet.labels import write_labels
from pipeline.imagenet.transform import crop_pixels, normalise
from pipeline.sample.draw import COLOURLESS, Kind, draw, kinds
from pipeline.sample.forms import ODD, ORDINARY, Form

MEANING = (
    "The sample's Top1 shows whether pictures and labels came through the pipeline unharmed and "
    "says nothing about VoVNet-39 on photographs: its pictures are drawn by rule, its network is "
    "random but for the last layer, and that layer was fitted on other pictures drawn by the "
    "same rules."
)

IMAGES = "images"
LABELS = "val_label.txt"
CHECKPOINT = "vovnet39_sample.pth"

STAGE = "sample"
CLASSES = 1000
SCORED_PER_KIND = 8
FITTED_PER_KIND = 6
SHARE_LARGE = 0.4  # of the pictures of ordinary form
SEED = 39
PACKAGES = ("numpy", "Pillow", "torch")
SETTINGS = {
    "classes": CLASSES,
    "scored_per_kind": SCORED_PER_KIND,
    "fitted_per_kind": FITTED_PER_KIND,
    "share_large": SHARE_LARGE,
    "seed": SEED,
}
# The streams of random numbers, so that no scored picture is one that the head was fitted on.
_FITTED, _SCORED, _ORDER = range(3)

_OWN_IMAGE = re.compile(r"sample_val_[0-9]{8}\.JPEG")


@progress.steps("look at the folder", "draw the pictures", "make the checkpoint")
def make_sample(folder: Path, force: bool = False) -> str:
    """Make the sample in `folder` and return one line about it.

    There are then `images/`, `val_label.txt` and `vovnet39_sample.pth`; unless `force` is given, a
    whole sample that the same code made is left as it is. What a run that was cut short has left is
    made anew. Raises PipelineError where `folder` holds something else, or another process makes
    the sample there.
    """
    number = len(kinds(CLASSES))
    summary = f"sample of {number * SCORED_PER_KIND} pictures in {number} classes"
    if not force and _is_whole(folder):
        lock.clear_away(folder)
        return f"{summary} is there already, nothing to do"
    _check(folder)
    # Nothing but the folder itself until the record is there, which says whose it is.
    places.make_folder(folder)
    outputs = [folder, *_parts(folder)]
    with record.keeping(record.Run(STAGE, [], outputs, SETTINGS, PACKAGES)) as run:
        _clear(folder)
        progress.next_step()
        forms = write_pictures(folder)
        progress.next_step()
        fitted = write_checkpoint(folder / CHECKPOINT)
        run.counts = {"pictures": sum(forms.values()), "classes": number, "fitted_on": fitted}
        run.details = {
            "meaning": MEANING,
            "forms": dict(sorted(forms.items())),
            "kinds": [asdict(kind) for kind in kinds(CLASSES)],
        }
        run.verdict = f"{summary}, checkpoint fitted on {fitted} others"
        ledger.sync(folder)  # before the record says `complete`, which may outlive a power cut
    return run.verdict


def _parts(folder: Path) -> tuple[Path, Path, Path]:
    return folder / IMAGES, folder / LABELS, folder / CHECKPOINT


def _is_whole(folder: Path) -> bool:
    """Say whether `folder` holds what making the sample again would make."""
    content = record.load(folder)
    if content is None:
        return False
    versions = identity.versions(PACKAGES)
    made = content["outputs"][1:]
    parts = _parts(folder)
    return (
        (content["stage"], content["status"]) == (STAGE, "complete")
        and content["settings"] == SETTINGS
        and content["code_sha256"] == identity.code_digest()
        and versions.items() <= content["versions"].items()
        and len(made) == len(parts)
        and all(
            identity.is_unchanged(entry | {"path": str(path)})
            for path, entry in zip(parts, made, strict=True)
        )
    )


def _check(folder: Path) -> None:
    """Raise PipelineError where `folder` is no place for a sample; change nothing."""
    elsewhere = "give the sample a folder of its own"
    content = record.load(folder)
    if folder.exists() and not folder.is_dir():
        raise PipelineError(f"{folder} is a file", elsewhere)
    if content is not None and content["stage"] != STAGE:
        raise PipelineError(f"{folder} was made by the stage {content['stage']}", elsewhere)
    if content is None and folder.is_dir() and any(folder.iterdir()):
        raise PipelineError(f"{folder} is not empty and holds no sample", elsewhere)
    _own_pictures(folder)


def _own_pictures(folder: Path) -> list[Path]:
    """Return the pictures that an earlier run has left; PipelineError: there are others, too."""
    images = folder / IMAGES
    old = sorted(images.iterdir()) if images.is_dir() else []
    strangers = [path.name for path in old if not _OWN_IMAGE.fullmatch(path.name)]
    if strangers:
        raise PipelineError(
            f"{images} holds {strangers[0]}, which is not of the sample", "move it somewhere else"
        )
    return old


def _clear(folder: Path) -> None:
    """Remove what an earlier run has left; begin with what a whole sample cannot do without."""
    images, labels, checkpoint = _parts(folder)
    for path in [checkpoint, labels, *_own_pictures(folder)]:
        path.unlink(missing_ok=True)
    places.make_folder(images)


def write_pictures(folder: Path) -> Counter[str]:
    """Write the scored pictures and their labels; return how many there are of each form."""
    order = np.random.default_rng([SEED, _ORDER])
    plan = [kind for kind in kinds(CLASSES) for _ in range(SCORED_PER_KIND)]
    order.shuffle(plan)
    forms = assign_forms(plan, order)
    names = [f"sample_val_{number + 1:08}.JPEG" for number in range(len(plan))]
    with progress.track("drawing the sample", len(plan), "pictures") as done:
        for number, (name, kind, form) in enumerate(zip(names, plan, forms, strict=True)):
            rng = np.random.default_rng([SEED, _SCORED, number])
            (folder / IMAGES / name).write_bytes(_picture(kind, form, rng))
            done(number + 1)
    write_labels(folder / LABELS, zip(names, (kind.label for kind in plan), strict=True))
    return Counter(form.name for form in forms)


def _picture(kind: Kind, form: Form, rng: np.random.Generator) -> bytes:
    """Return a picture's file; the odd forms stay small, as some of them do not compress."""
    large = form in ORDINARY and rng.random() < SHARE_LARGE
    return form.encode(draw(kind, rng, large), rng)


def assign_forms(plan: list[Kind], rng: np.random.Generator) -> list[Form]:
    """Return a form for each picture; one without colour only where the class has none."""
    forms = [ORDINARY[i] for i in rng.integers(len(ORDINARY), size=len(plan))]
    free: dict[bool, list[int]] = {True: [], False: []}
    for number, kind in enumerate(plan):
        free[kind.palette == COLOURLESS].append(number)
    for numbers in free.values():
        rng.shuffle(numbers)  # or every odd form would be among the last pictures
    for form in ODD:
        forms[free[form.colourless].pop()] = form
    return forms


def write_checkpoint(path: Path) -> int:
    """Fit the network on pictures drawn for it alone, save it; return how many there were."""
    import torch

    from pipeline.sample import head

    drawn = list(_fitting_pictures())
    pictures = np.stack([picture for picture, _ in drawn])
    labels = np.array([label for _, label in drawn], dtype=np.int64)
    state = head.fit(pictures, labels, CLASSES, SEED, machine.usable_cores())
    # Through a buffer, because torch would write the temporary file's name into the archive.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic.write_bytes(path, buffer.getvalue())
    return len(drawn)


def _fitting_pictures() -> Iterator[tuple[NDArray[np.float32], int]]:
    """Yield network inputs with their class ids: one of every class, then again."""
    for turn in range(FITTED_PER_KIND):
        for number, kind in enumerate(kinds(CLASSES)):
            rng = np.random.default_rng([SEED, _FITTED, turn, number])
            form = ORDINARY[rng.integers(len(ORDINARY))]
            with Image.open(io.BytesIO(_picture(kind, form, rng))) as image:
                pixels = crop_pixels(image.convert("RGB"))
            yield normalise(pixels), kind.label
