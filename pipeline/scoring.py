"""Dumps and labels to TopN.

Rank of a label, the same on every processor: the number of classes with a greater score, plus the
number of classes before it with the same score. That is where a stable descending sort puts it;
the usual `argsort(-scores)` is not stable, and its order of ties depends on the processor's vector
width. Labels that share their score with another class are counted and reported.

A NaN stops the scoring, because no order of such scores means anything. Infinities are ordered like
any other value; rows that hold one are counted and reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import (
    atomic,
    chain,
    dump_folder,
    machine,
    places,
    progress,
    published,
    record,
    shares,
    totals,
)
from pipeline.dump_folder import Block, Dumps
from pipeline.errors import PipelineError
from pipeline.formats import result
from pipeline.imagenet.labels import read_labels

# With this many outputs the first is a class of its own, and label n is output n + 1.
OUTPUTS_WITH_BACKGROUND = 1001

_Z_95 = 1.959963984540054  # the 97.5 % point of the standard normal distribution


@dataclass(frozen=True)
class Tally:
    """What some rows come to; `hits_at[n]` counts the labels of rank n, from 0."""

    images: int
    outputs: int
    tied: int
    infinite: int
    hits_at: NDArray[np.intp]


@dataclass(frozen=True)
class Score:
    """What a folder of dumps comes to."""

    images: int
    classes: int  # the number of outputs, as result.json has it
    hits: tuple[int, ...]  # hits[n]: images whose label is among the n + 1 highest scores
    tied: int  # images whose label shares its score with another class
    infinite: int  # images with an infinite score
    labelled: int  # images in the label file
    passed_over: int  # entries of the folder that are no dumps
    other_outputs: int  # dumps of a second, third, ... output
    refused: int  # images that the preprocessing of these refused
    chain: Mapping[str, Any]  # what is known of all that the dumps come from

    @property
    def doubts(self) -> Sequence[str]:
        """Say why the score is unverified; empty where every record up to the tensors is good."""
        doubts: list[str] = self.chain["doubts"]
        return doubts

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Fractions of Top1, Top2, ..."""
        return tuple(hits / self.images for hits in self.hits)

    @property
    def top1_interval(self) -> tuple[float, float]:
        """The 95 % interval of the Top1 fraction."""
        return wilson_interval(self.hits[0], self.images)


def score_to_file(dumps: Path, labels_file: Path, target: Path, images: int | None = None) -> Score:
    """Score a folder of dumps, and write `target` (`result.json`) and its record.

    The folder of `target` is made where it is missing. PipelineError as `score` has it; then
    `target` stays as it was.
    """
    if not dumps.is_dir():
        raise PipelineError(f"{dumps} is no folder", "give the one that benchmark.py filled")
    dumps = dump_folder.locate(dumps)
    places.check_file(target, [labels_file], make_parent=True)
    run = record.Run(
        stage="vision_metric_ImageNet",
        inputs=[dumps, labels_file],
        outputs=[target],
        settings={"images": images},
        packages=["numpy", "orjson", "pysimdjson"],
    )
    with record.keeping(run):
        found = score(dumps, labels_file, images, lambda: run.identified()["inputs"][0])
        run.counts = _counts(found)
        run.details = {
            "classes": found.classes,
            "top": [round(accuracy, 6) for accuracy in found.accuracies],
            "top1_interval_95": [round(end, 6) for end in found.top1_interval],
            "chain": found.chain,
        }
        run.verdict = ", ".join(describe(found))
        places.make_folder(target.parent)
        atomic.write_text(target, result.to_text(found.images, found.classes, found.accuracies))
    return found


def _counts(found: Score) -> record.Json:
    """Return the counts for the record; what was refused was so before it came to be a dump."""
    return {
        "given": found.images + found.refused,
        "scored": found.images,
        "refused": found.refused,
        "passed_over": found.passed_over,
        "other_outputs": found.other_outputs,
        "labelled": found.labelled,
        "tied": found.tied,
        "infinite": found.infinite,
    }


def describe(score: Score) -> list[str]:
    """Return what there is to say of a score besides its figures, in short phrases."""
    phrases = [f"{score.images} of {score.labelled} labelled images scored"]
    phrases.append(f"{score.classes} classes")
    if score.doubts:
        phrases.append(chain.say(score.doubts))
    for count, noun, rest in (
        (score.refused, "image", "refused by the preprocessing"),
        (score.other_outputs, "dump", "of further outputs not scored"),
        (score.passed_over, "other file", "passed over"),
        (score.tied, "label", "tied with another class"),
        (score.infinite, "row", "with an infinity"),
    ):
        if count:
            phrases.append(f"{count} {noun}{'' if count == 1 else 's'} {rest}")
    return phrases


def compare(score: Score) -> str | None:
    """Return how a full run stands to the published figures, or None where it is not a full one.

    The rule is the ModelZoo's: Top1 and Top5 at most one point below the source's. A miss is said
    and is no error, because another checkpoint than the published one has figures of its own.
    """
    full = score.images == published.VALIDATION_IMAGES
    if not full or score.classes not in (1000, OUTPUTS_WITH_BACKGROUND):
        return None
    top1, top5 = (round(score.accuracies[place] * 100, 2) for place in (0, 4))
    gains = round(top1 - published.SOURCE_TOP1, 2), round(top5 - published.SOURCE_TOP5, 2)
    word = "within" if min(gains) >= -published.ALLOWED_DROP else "NOT within"
    return (
        f"published Top1 / Top5: {published.SOURCE_TOP1} / {published.SOURCE_TOP5} (source),"
        f" {published.OM_TOP1} / {published.OM_TOP5} (om); here {top1} / {top5},"
        f" {gains[0]:+.2f} / {gains[1]:+.2f} points against the source:"
        f" {word} the allowed drop of {published.ALLOWED_DROP:g} point"
    )


def score(
    dumps: Path,
    labels_file: Path,
    given: int | None = None,
    fingerprint: Callable[[], record.Json] | None = None,
) -> Score:
    """Score a folder of dumps against a label file.

    `given` is the number of images that there must be; else the folder's record says it, and
    without one the label file. `fingerprint` returns that of the folder, once it is known.

    PipelineError names the file where a dump is unreadable, has no label, another length than the
    rest or a NaN, where a label is no class, where the number of images is another one, and where
    the folder is not what a complete run has left.
    """
    found = dump_folder.find(dumps)
    run = totals.run_of(found)
    labels = read_labels(labels_file)
    totals.check(found, run, labels, labels_file, given)
    images = outputs = tied = infinite = 0
    hits_at = np.zeros(result.MOST_TOP_ENTRIES, np.intp)
    with progress.track("score", len(found.images), "images") as update:
        for part in _tallies(found, labels, labels_file):
            images, outputs = images + part.images, part.outputs
            tied, infinite = tied + part.tied, infinite + part.infinite
            hits_at += part.hits_at
            update(images)
    # Last, because a process of its own reads the folder's times meanwhile.
    links = chain.after_run(run.standing(fingerprint))
    return Score(
        images=images,
        classes=outputs,
        hits=tuple(np.cumsum(hits_at)[: result.top_entries(outputs)].tolist()),
        tied=tied,
        infinite=infinite,
        labelled=len(labels),
        passed_over=found.passed_over,
        other_outputs=found.other_outputs,
        refused=chain.refused(links),
        chain=links,
    )


def _tallies(dumps: Dumps, labels: Mapping[str, int], labels_file: Path) -> Iterator[Tally]:
    """Yield the tallies of all blocks, by several processes where that is faster."""

    def work(start: int, stop: int) -> Iterator[Tally]:
        for block in dumps.blocks(start, stop):
            yield tally(block, classes_of(block, labels, labels_file))

    count = len(dumps.images)
    workers = min(machine.usable_cores(), count // dumps.share)
    progress.detail(f"processes: {max(1, workers)}; each is worth {dumps.share} images or more")
    if workers < 2 or not shares.can_fork():
        return work(0, count)
    per_worker = -(-count // workers)
    return shares.run(work, [*range(0, count, per_worker), count])


def classes_of(block: Block, labels: Mapping[str, int], labels_file: Path) -> NDArray[np.intp]:
    """Return the output that stands for the label of each row of `block`.

    With 1001 outputs that is the label plus one. PipelineError where an image has no label, or
    its label is no class.
    """
    outputs = block.scores.shape[1]
    shift = 1 if outputs == OUTPUTS_WITH_BACKGROUND else 0
    found = np.fromiter(map(labels.get, block.images, repeat(-1)), np.intp, len(block.images))
    for row in np.flatnonzero((found < 0) | (found >= outputs - shift)).tolist():
        image, place = block.images[row], block.place(row)
        # msame calls its files `<image>_output_<k>`.
        label = labels.get(image, labels.get(image.removesuffix("_output")))
        if label is None:
            raise PipelineError(
                f"{place}: {labels_file} has no label for {image}",
                "is this the label file of these images?",
            )
        if not 0 <= label < outputs - shift:
            raise PipelineError(
                f"{labels_file}: the label {label} of {image} is no class",
                f"{place} has {outputs} outputs: labels go to {outputs - shift - 1}",
            )
        found[row] = label
    return found + shift


def tally(block: Block, classes: NDArray[np.intp]) -> Tally:
    """Count the rows of `block`, whose labels are the outputs `classes`.

    PipelineError where a row holds a NaN.
    """
    infinite = 0
    finite = np.isfinite(block.scores)
    if not finite.all():
        odd = np.flatnonzero(~finite.all(axis=1))
        for row in odd[np.isnan(block.scores[odd]).any(axis=1)]:
            raise PipelineError(
                f"{block.place(row)} holds a NaN, which has no rank",
                "look for the layer that makes it, or run with a higher precision",
            )
        infinite = odd.size
    found, tied = ranks(block.scores, classes)
    most = result.MOST_TOP_ENTRIES
    return Tally(
        images=len(found),
        outputs=block.scores.shape[1],
        tied=int(np.count_nonzero(tied)),
        infinite=infinite,
        hits_at=np.bincount(np.minimum(found, most), minlength=most + 1)[:most],
    )


def ranks(
    scores: NDArray[np.float32], classes: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the rank, from 0, of `classes[i]` in row i of `scores` (rows, outputs), and its tie.

    The rule is the module's. A tie is a score that another class of the row has as well. NaN
    ranks last: as the class's own score it has the rank `outputs`, elsewhere it counts as lower.
    """
    own = scores[np.arange(len(classes)), classes][:, None]
    # Counting in the smallest type is five times as fast as np.count_nonzero of each row.
    count = np.min_scalar_type(scores.shape[1])
    found = (scores > own).sum(axis=1, dtype=count).astype(np.intp)
    same = scores == own
    tied = np.zeros(len(classes), np.bool_)
    if np.count_nonzero(same) > len(classes) - np.count_nonzero(np.isnan(own)):
        tied = same.sum(axis=1, dtype=count) > 1
        for row in np.flatnonzero(tied):
            found[row] += np.count_nonzero(same[row, : classes[row]])
    found[np.isnan(own[:, 0])] = scores.shape[1]
    return found, tied


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of the fraction `hits` / `count` (Wilson, 1927)."""
    if count == 0:
        return 0.0, 1.0
    share, z2 = hits / count, _Z_95**2 / count
    middle = share + z2 / 2
    reach = _Z_95 * math.sqrt(share * (1 - share) / count + z2 / count / 4)
    return max(0.0, (middle - reach) / (1 + z2)), min(1.0, (middle + reach) / (1 + z2))
