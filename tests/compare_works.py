"""Work folders for the tests of `compare`, made up to the last figure, and how it is called."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import identity, record, scoring
from pipeline.formats import dump, perf
from pipeline.imagenet import labels as label_files
from tests.conftest import PROJECT

Scores = NDArray[np.float32]
CLASSES = 7
IMAGES = 40
DIGEST = "5e" * 32
MACHINE = {"processor": "A Processor", "usable_cores": 2, "load_average_1min": 0.1}
QUOTABLE = {"verdict": "QUOTABLE", "reasons": []}


def run(*arguments: str | Path, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "compare", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )


def compared(*arguments: str | Path, code: int = 0) -> Any:
    """Return the JSON of a comparison, and see that it ended with `code`."""
    out = Path(str(arguments[0])).parent / "compared.json"
    done = run(*arguments, "--out", out)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(out.read_text())


def names(count: int = IMAGES) -> list[str]:
    return [f"ILSVRC2012_val_{n + 1:08d}" for n in range(count)]


def some_scores(seed: int = 5, images: int = IMAGES) -> tuple[Scores, list[int]]:
    """Return scores of which the label has the highest in about half of the images."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, images)
    scores = rng.normal(size=(images, CLASSES)).astype(np.float32)
    scores[np.arange(images), labels] += 1
    return scores, labels.tolist()


def make(
    work: Path,
    scores: Scores,
    labels: Sequence[int],
    *,
    images: Sequence[str] = (),
    batch: int = 1,
    device: int = 0,
    rate: float | None = 100.0,
    quotable: Any = QUOTABLE,
    chain: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Make a run in a work folder: dumps, label file, score and, with a rate, a speed."""
    images = images or names(len(scores))
    dumps = work / "result" / f"dumpOutput_device{device}"
    dumps.mkdir(parents=True)
    for image, row in zip(images, scores, strict=True):
        (dumps / dump.dump_name(image, 1, True)).write_bytes(row.tobytes())
    if not (work / "labels.txt").exists():
        pairs = [(f"{image}.JPEG", int(label)) for image, label in zip(images, labels, strict=True)]
        label_files.write_labels(work / "labels.txt", pairs)
    made: dict[str, Any] = {
        "schema": record.SCHEMA,
        "stage": "benchmark",
        "status": "complete",
        "settings": {"batch_size": batch, "device": device, "form": "binary"},
        "code_sha256": DIGEST,
        "versions": {"numpy": "2.0"},
        "outputs": [identity.fingerprint(dumps)],
        "counts": {"samples": len(scores), "dumped": len(scores), "outputs_per_sample": 1},
        "peak_memory_bytes": {"process": 200 << 20},
        "details": {
            "machine": MACHINE,
            "quotable": quotable,
            "latencies_us": [1000 * n for n in range(1, 101)],
            "chain": {"verified": True, "doubts": [], **(chain or {})},
            **(details or {}),
        },
    }
    if rate:
        place = work / "result" / perf.perf_name("vision", batch, device)
        figures = [rate if "rate" in name else 1 for name in perf.DatasetPerf.__annotations__]
        place.write_text(perf.to_text(perf.DatasetPerf(*figures)))
        made["outputs"].append(identity.fingerprint(place))
        record.path_of(place).write_text(json.dumps(made))
    record.path_of(dumps).write_text(json.dumps(made))
    with contextlib.chdir(work):
        scoring.score_to_file(
            Path("result", dumps.name), Path("labels.txt"), Path(f"result_bs{batch}.json")
        )
    return work


def nudged(scores: Scores, rows: Sequence[int], answer: int) -> Scores:
    """Return scores by which `answer` is the answer to the images `rows`."""
    other = scores.copy()
    other[list(rows), answer] = scores.max() + 2
    return other


def rows_of(done: subprocess.CompletedProcess[str], title: str) -> list[str]:
    """Return the lines below a title, up to the empty one."""
    lines = done.stdout.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(title))
    return lines[start + 1 : lines.index("", start)]


def two_works(tmp_path: Path) -> tuple[Path, Path]:
    """Two work folders whose answers, and nothing else, are not the same."""
    scores, labels = some_scores()
    rng = np.random.default_rng(8)
    noisy = scores + rng.normal(scale=0.5, size=scores.shape).astype(np.float32)
    return make(tmp_path / "a", scores, labels), make(tmp_path / "b", noisy, labels)
