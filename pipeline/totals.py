"""Are the dumps in a folder all that there must be? A score of a part is no score.

Where the folder has the record of a run, that run vouches for the total, and the label file may
have more images. Without one only the label file is left to tell, unless the user does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import chain, identity, record
from pipeline.chain import Standing
from pipeline.dump_folder import RERUN, Dumps
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Run:
    """What is known of the run that filled a folder of dumps; no record, None."""

    folder: Path
    made: record.Json | None

    def standing(self, fingerprint: Callable[[], record.Json] | None = None) -> Standing:
        """Say how the dumps stand; `fingerprint` returns that of their folder.

        PipelineError where the folder is not what the run has left.
        """
        now = fingerprint() if fingerprint else identity.fingerprint(self.folder)
        if self.made is None:
            return chain.unknown(self.folder, now)
        return chain.end(self.folder, self.made, now)


def run_of(dumps: Dumps) -> Run:
    """Return the run that filled the folder.

    PipelineError where it did not end well, or where it was given, or has written, other dumps
    than there are.
    """
    made = chain.begin(dumps.folder, chain.BENCHMARK)
    if made is None:
        return Run(dumps.folder, None)
    images, counts = len(dumps.images), made["counts"]
    each = 1 + dumps.other_outputs / images
    given, written = chain.count(counts, *chain.GIVEN), chain.count(counts, *chain.DONE)
    outputs = chain.count(counts, "outputs_per_sample")
    remedy = f"{RERUN}, or remove {chain.record_of(dumps.folder)} if another tool made these dumps"
    if written != images or outputs != each:
        raise PipelineError(
            f"{dumps.folder} holds {images} images with {each:.6g} outputs each,"
            f" and its record says {chain.shown(written)} with {chain.shown(outputs)}",
            remedy,
        )
    if given != images:
        raise PipelineError(
            f"{dumps.folder} holds the results of {images} images, and its record says that the"
            f" run was given {chain.shown(given)}",
            remedy,
        )
    return Run(dumps.folder, made)


def check(
    dumps: Dumps, run: Run, labels: Mapping[str, int], labels_file: Path, given: int | None
) -> None:
    """Raise PipelineError where there are not as many dumps as there must be.

    `given` is the number that the user says; None: that of the run, or of the labels.
    """
    images = len(dumps.images)
    if given is not None and given != images:
        raise PipelineError(
            f"{dumps.folder} holds the results of {images} images, and --images says {given}",
            f"{RERUN}, or give the number of images that the run was given",
        )
    if given is not None or run.made is not None or images >= len(labels):
        return  # of more dumps than labels, the scoring names one without a label
    # msame calls its files `<image>_output_<k>`.
    there = {image.removesuffix("_output") for image in dumps.images}.union(dumps.images)
    missing = min(labels.keys() - there)
    raise PipelineError(
        f"{dumps.folder} has no record, and holds the results of {images} images where"
        f" {labels_file} has {len(labels)}: {chain.shown(missing)} is missing",
        f"if the run was given {images} images, say so with --images {images}",
    )
