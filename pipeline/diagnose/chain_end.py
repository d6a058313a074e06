"""The end of the chain: dumps and labels, against answers that are computed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import prepared, progress
from pipeline.diagnose import answers, files, label_check, samples
from pipeline.diagnose import dumped as stored_dumps
from pipeline.diagnose.files import Bins
from pipeline.diagnose.findings import Step, skipped
from pipeline.diagnose.network import Model, pixels_of
from pipeline.diagnose.samples import Sample
from pipeline.imagenet.folder import ImageItem

_BINS, _REFERENCE = "the .bin files", "the reference's preprocessing"
_GIVE = "give --dumps, the folder of another run's results"
_AT_ONCE = 8  # images


@dataclass(frozen=True)
class _Computed:
    """Answers by the source of their inputs, for the images `names`; the first is the run's own."""

    names: list[str]
    logits: dict[str, NDArray[np.float32]]


def examine(
    model: Model | None,
    items: Sequence[ImageItem],
    bins: Bins | None,
    dumps: Path | None,
    labels: Path | None,
) -> list[Step]:
    """Return the steps of the dumps and of the labels."""
    computed = _compute(model, items, bins) if model and (dumps or labels) else None
    steps: list[Step] = []
    names: Sequence[str] = []
    guesses = np.zeros(0, np.intp)
    classes = 0
    if computed:
        # The answers to right inputs tell of the labels, whatever the .bin files are.
        best = computed.logits.get(_REFERENCE, next(iter(computed.logits.values())))
        names, guesses, classes = computed.names, best.argmax(axis=1), best.shape[1]
    if dumps is None:
        steps += [skipped(name, _GIVE) for name in (answers.VALUES, answers.ORDER)]
    elif computed is None:
        why = "give --model, for answers to compare the dumps with"
        steps += [skipped(name, why) for name in (answers.VALUES, answers.ORDER)]
        dumped = stored_dumps.read(dumps, None)
        names, guesses, classes = dumped.images, dumped.rows.argmax(axis=1), dumped.classes
    else:
        dumped = stored_dumps.read(dumps, classes)
        found = answers.match(dumped, computed.names, computed.logits)
        listed = _listed(items, bins)
        first = next(iter(computed.logits))
        steps += answers.examine(dumped, computed.names, listed, found, first)
        # More images tell more of the labels, where their dumps are what they should be.
        if not any(step.parts for step in steps):
            shift = bool(found and found.background)
            names, guesses = dumped.images, dumped.rows[:, int(shift) :].argmax(axis=1)
    steps.append(label_check.examine(labels, names, guesses, classes))
    return steps


def _listed(items: Sequence[ImageItem], bins: Bins | None) -> list[str]:
    """Return the images in the order of the run: that of its list, or of the names."""
    images = {item.stem for item in items}
    if bins:
        ordered = [stem for stem in bins.listed if stem in images]
        return list(dict.fromkeys(ordered))
    return sorted(images)


def _compute(model: Model, items: Sequence[ImageItem], bins: Bins | None) -> _Computed | None:
    """Compute the answers to some images: the first in a row, the last, and others between."""
    if model.form is None or model.feed is None:
        return None
    listed = _listed(items, bins)
    by_stem = {item.stem: item for item in items}
    count = len(listed)
    places = {*range(min(answers.FIRST, count)), *range(max(0, count - answers.LAST), count)}
    for place in prepared.spread(count):
        if len(places) >= answers.FIRST + answers.LAST + answers.SPREAD:
            break
        places.add(place)
    wanted = [by_stem[listed[place]] for place in sorted(places)]
    chosen = [sample for item in wanted if (sample := samples.load(item))]
    if not chosen:
        return None
    stored = _stored(model, chosen, bins)
    sources: dict[str, NDArray[Any]] = {}
    if stored is not None:
        sources[_BINS] = stored
    reference = model.feed(pixels_of(chosen))
    if stored is None or stored.tobytes() != reference.tobytes():
        sources[_REFERENCE] = reference
    logits = {name: _infer(model, values) for name, values in sources.items()}
    return _Computed([sample.stem for sample in chosen], logits)


def _stored(model: Model, chosen: Sequence[Sample], bins: Bins | None) -> NDArray[Any] | None:
    """Return the inputs that another pipeline prepared, where the model takes all of them."""
    form = model.form
    if bins is None or form is None:
        return None
    shape = (3, form.side, form.side) if form.layout == "CHW" else (form.side, form.side, 3)
    rows = []
    for sample in chosen:
        path = bins.paths.get(sample.stem)
        data = files.read(path) if path else b""
        if len(data) != int(np.prod(shape)) * form.dtype.itemsize:
            return None
        rows.append(np.frombuffer(data, form.dtype).reshape(shape))
    return np.stack(rows)


def _infer(model: Model, values: NDArray[Any]) -> NDArray[np.float32]:
    rows = []
    with progress.track("computing answers", len(values), "images") as done:
        for first in range(0, len(values), _AT_ONCE):
            rows.append(model.logits(values[first : first + _AT_ONCE]))
            done(first + len(rows[-1]))
    return np.concatenate(rows)
