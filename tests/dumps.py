"""Folders of dumps for the tests, and what they come to by plain sorting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import identity, record
from pipeline.formats import dump

IMAGES = 40


def make_case(
    folder: Path,
    *,
    outputs: int = 1000,
    binary: bool = False,
    first: int = 1,
    images: int = IMAGES,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Fill `folder`/dumps and `folder`/labels.txt; return scores and labels."""
    rng = np.random.default_rng(7)
    scores = rng.normal(size=(images, 1000)).astype(np.float32)
    labels = rng.integers(0, 1000, images)
    ranks = rng.integers(0, 8, images)  # so that some labels lead, and others nearly do
    scores[np.arange(images), labels] = np.sort(scores, axis=1)[np.arange(images), -1 - ranks]
    shown = scores
    if outputs == 1001:
        background = np.full((images, 1), 9, np.float32)  # would win, were it a class
        shown = np.concatenate([background - 20, scores], axis=1)
    (folder / "dumps").mkdir(parents=True)
    for number, row in enumerate(shown):
        write_dump(folder, f"ILSVRC2012_val_{number + 1:08d}", row, binary=binary, number=first)
    lines = [f"ILSVRC2012_val_{n + 1:08d}.JPEG {label}" for n, label in enumerate(labels)]
    (folder / "labels.txt").write_text("\n".join(lines) + "\n")
    return scores, labels


def write_dump(
    folder: Path, stem: str, row: NDArray[np.float32], *, binary: bool = False, number: int = 1
) -> None:
    path = folder / "dumps" / dump.dump_name(stem, number, binary)
    path.write_bytes(row.tobytes() if binary else dump.to_text(row))


def expected(scores: NDArray[np.float32], labels: NDArray[np.intp]) -> list[int]:
    """Count Top1..Top5 the plain way: sort each row, look where the label is."""
    places = [
        sorted(zip(-row, range(len(row)), strict=True)).index((-row[label], label))
        for row, label in zip(scores, labels, strict=True)
    ]
    return [sum(place < top for place in places) for top in range(1, 6)]


def write_record(folder: Path, **content: Any) -> None:
    """Write the record of a run, on good inputs, that made the dumps as they are now."""
    counts = {"dumped": IMAGES, "outputs_per_sample": 1} | content.pop("counts", {})
    details = {"chain": {"verified": True, "doubts": []}} | content.pop("details", {})
    whole = {
        "schema": record.SCHEMA,
        "stage": "benchmark",
        "status": "complete",
        "outputs": [identity.fingerprint(folder / "dumps")],
        "counts": {"samples": counts["dumped"], **counts},
        "details": details,
    }
    record.path_of(folder / "dumps").write_text(json.dumps(whole | content))
