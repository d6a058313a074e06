"""Work folders for the tests of the report: real runs of a small model on pictures drawn here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.imagenet.transform import prepare
from tests import models
from tests.conftest import PROJECT

CLASSES = 12
IMAGES = 60
# A name that would be markup, were it not escaped, and one that no UTF-8 is.
HOSTILE = "\"><script>alert(1)<`b`&amp;'"
NO_UTF8 = "caf\udce9"


@dataclass(frozen=True)
class Work:
    """A work folder with what a report of it has to say, reckoned by numpy alone.

    `scores` is (images, classes), `labels` (images,), both in the order of `names`.
    """

    folder: Path
    images: Path
    names: list[str]
    labels: NDArray[np.intp]
    scores: NDArray[np.float32]

    @property
    def answers(self) -> NDArray[np.intp]:
        """The class with the highest score of each image."""
        found: NDArray[np.intp] = self.scores.argmax(axis=1)
        return found


def stage(folder: Path, script: str, *arguments: str | Path) -> None:
    """Run a stage by its own command, in a folder."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / script), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def make(folder: Path, *, batches: tuple[int, ...] = (1, 4)) -> Work:
    """Prepare pictures, run a small model on them and score, for each batch size."""
    folder.mkdir(parents=True)
    images = folder / "my images"
    images.mkdir()
    rng = np.random.default_rng(3)
    names = sorted([f"val_{number:03d}" for number in range(IMAGES - 2)] + [HOSTILE, NO_UTF8])
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((260, 240)).save(images / f"{name}.png")
    models.save_classifier(folder / "vovnet39.onnx", classes=CLASSES)
    tensors = np.stack([prepare(images / f"{name}.png") for name in names])
    scores = models.expected(folder / "vovnet39.onnx", tensors)[0]
    places = np.argsort(-scores, axis=1)
    # The label is the first answer of half of the images, and the second to ninth of the others.
    ranks = np.where(rng.random(IMAGES) < 0.5, 0, rng.integers(1, 9, IMAGES))
    # Both names from outside are to be seen among the wrong images.
    ranks[[names.index(HOSTILE), names.index(NO_UTF8)]] = 2
    labels = places[np.arange(IMAGES), ranks]
    lines = [f"{name}.png {label}\n" for name, label in zip(names, labels, strict=True)]
    (folder / "val_label.txt").write_bytes(os.fsencode("".join(lines)))
    stage(folder, "vovnet_torch_preprocess.py", images.name, "./prep_dataset")
    stage(folder, "get_info.py", "bin", "./prep_dataset", "./prep.info", "224", "224")
    for device, size in enumerate(batches):
        stage(
            *(folder, "benchmark.py", "-model_type=vision", f"-device_id={device}"),
            *(f"-batch_size={size}", "-om_path=vovnet39.onnx", "-input_text_path=./prep.info"),
            *("-input_width=224", "-input_height=224", "-output_binary=False", "-useDvpp=False"),
        )
        dumps = f"result/dumpOutput_device{device}/"
        stage(
            *(folder, "vision_metric_ImageNet.py", dumps),
            *("val_label.txt", "./", f"result_bs{size}.json"),
        )
    return Work(folder, images, names, labels, scores)


def report(
    *arguments: str | Path,
    code: int = 0,
    folder: Path = PROJECT,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the report's command, and see that it ends with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "report", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | dict(env or {}),
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def data(folder: Path, stem: str = "report") -> Any:
    """Return the JSON beside a page."""
    return json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))


def verdict(found: Any, subject: str) -> Any:
    """Return one verdict out of the JSON."""
    return next(one for one in found["verdicts"] if one["subject"] == subject)
