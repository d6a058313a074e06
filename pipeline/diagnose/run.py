"""The whole diagnosis: what is given is examined, step by step, and written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import atomic, places, progress
from pipeline.diagnose import files, preprocessing, preprocessing_steps, samples
from pipeline.diagnose.findings import Diagnosis, Step
from pipeline.diagnose.samples import Sample
from pipeline.errors import PipelineError
from pipeline.imagenet.folder import ImageItem, find_images

LIMIT = 256


@dataclass(frozen=True)
class Given:
    """What the user has; all but the images may be missing."""

    images: Path
    checkpoint: Path | None = None
    model: Path | None = None
    bins: Path | None = None
    info: Path | None = None
    dumps: Path | None = None
    labels: Path | None = None
    limit: int = LIMIT
    arch: str = "vovnet39"
    engine: str | None = None
    precision: str | None = None
    out: Path | None = None
    verbose: bool = False


def diagnose(given: Given) -> Diagnosis:
    """Examine all that is given; write the report to `given.out` where there is one.

    Raises PipelineError where an input cannot be read at all; a step that cannot be examined is no
    error, and says what to give.
    """
    inputs = (given.checkpoint, given.model, given.info, given.labels)
    if given.out:
        places.check_file(given.out, [path for path in inputs if path])
    items = find_images(given.images).items
    found = _examine(given, items)
    if given.out:
        atomic.write_text(given.out, json.dumps(found.as_json(), indent=1) + "\n")
    return found


def _examine(given: Given, items: Sequence[ImageItem]) -> Diagnosis:
    from pipeline.diagnose import chain_end, network

    model = network.open_model(given.model) if given.model else None
    bins = _bins(given)
    chosen = _load(items, given.limit)
    steps: list[Step] = []
    explanation = None
    if bins:
        steps.append(files.examine(bins, items))
        explanation = preprocessing.explain(chosen, bins, model.form if model else None)
        steps.append(preprocessing_steps.owners_step(explanation))
    steps += preprocessing_steps.steps(explanation)
    wanted = (given.engine, given.precision)
    steps += network.examine(
        given.checkpoint, given.arch, model, chosen, wanted, verbose=given.verbose
    )
    steps += chain_end.examine(model, items, bins, given.dumps, given.labels)
    looked_at = f"{len(chosen)} of {len(items)} images"
    return Diagnosis(steps, looked_at)


def _bins(given: Given) -> files.Bins | None:
    if given.info:
        return files.from_info(given.info)
    return files.from_folder(given.bins) if given.bins else None


def _load(items: Sequence[ImageItem], limit: int) -> list[Sample]:
    """Return the samples, without what cannot be decoded; PipelineError where nothing can."""
    wanted = samples.choose(items, limit)
    found = []
    with progress.track("decoding", len(wanted), "images") as done:
        for number, item in enumerate(wanted, 1):
            if sample := samples.load(item):
                found.append(sample)
            done(number)
    if not found:
        raise PipelineError(
            f"none of {len(wanted)} images can be decoded, such as {wanted[0].path}",
            "give the images that the accuracy was measured on",
        )
    if len(found) < len(wanted):
        lost = len(wanted) - len(found)
        noun = "image" if lost == 1 else "images"
        progress.note(f"{lost} {noun} cannot be decoded, and left out")
    return found
