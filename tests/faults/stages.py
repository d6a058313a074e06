"""The small real data set, and the stages that are run on it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np

from pipeline.identity import PROJECT
from pipeline.imagenet.labels import write_labels
from tests import images
from tests.faults.ground import PYTHON, Ground, Stage

CLASSES = 1000
PERF = "result/perf_vision_batchsize_{}_device_{}.txt"
DUMPS = "result/dumpOutput_device0"
_SIZE = ("-input_width=224", "-input_height=224")


def script(name: str) -> tuple[str, str]:
    """Return how a stage's script is called."""
    return PYTHON, str(PROJECT / name)


def _benchmark(name: str, batch: int, *flags: str) -> Stage:
    return Stage(
        f"benchmark {name}",
        (
            *script("benchmark.py"),
            "-model_type=vision",
            "-device_id=0",
            f"-batch_size={batch}",
            "-om_path=../given/vovnet39.onnx",
            "-input_text_path=../given/prep.info",
            *_SIZE,
            *flags,
        ),
        outputs=(DUMPS, PERF.format(batch, 0)),
        figures=("result/perf_*",),
        items=DUMPS,
        next=(*script("vision_metric_ImageNet.py"), f"{DUMPS}/", "../given/labels.txt", "./", "r"),
        next_makes="r",
        weight=1.5,
    )


PREPROCESS = Stage(
    "preprocess",
    (*script("vovnet_torch_preprocess.py"), "../given/images", "./prep", "--workers", "2"),
    outputs=("prep",),
    items="prep",
    next=(*script("get_info.py"), "bin", "./prep", "./half.info", "224", "224"),
    next_makes="half.info",
    weight=3.0,
)
INFO = Stage(
    "info",
    (*script("get_info.py"), "bin", "../given/prep", "./prep.info", "224", "224"),
    outputs=("prep.info",),
    weight=0.7,
)
TEXT = _benchmark("text", 1, "-output_binary=False", "-useDvpp=False")
BINARY = _benchmark("binary", 4, "-output_binary=True", "-useDvpp=False")
ARRAYS = _benchmark("npy", 4, "-dump=npy")
SCORE = Stage(
    "score",
    (
        *script("vision_metric_ImageNet.py"),
        f"../given/{DUMPS}/",
        "../given/labels.txt",
        "./",
        "result.json",
    ),
    outputs=("result.json",),
)
REPORT = Stage(
    "perf report",
    (*script("perf_report.py"), "--json", f"../given/{PERF.format(1, 0)}"),
    prints=True,
    weight=0.3,
)
_DEVICES = tuple(f"result/dumpOutput_device{device}" for device in (0, 1))
RUN_ALL = Stage(
    "run_all",
    (
        "bash",
        str(PROJECT / "run_all.sh"),
        *("--from", "preprocess", "--work-dir", ".", "--batch-size", "1 4"),
        *("--images", "../given/images", "--labels", "../given/labels.txt"),
    ),
    outputs=("prep_dataset", "vovnet_prep_bin.info", *_DEVICES, "result_bs1.json"),
    takes=("vovnet39.onnx",),
    figures=("result/perf_*",),
    script=True,
    weight=1.2,
)
EXPORT = Stage(
    "export",
    (*script("vovnet39_pth2onnx.py"), "../given/sample/vovnet39_sample.pth", "vovnet39.onnx"),
    outputs=("vovnet39.onnx",),
    costly=True,
    weight=0.3,
)
SAMPLE = Stage(
    "sample",
    (PYTHON, "-m", "pipeline", "sample", "sample"),
    outputs=("sample",),
    costly=True,
    weight=0.1,
)
CHAIN = Stage(
    "run_all from the checkpoint",
    (
        "bash",
        str(PROJECT / "run_all.sh"),
        *("--work-dir", ".", "--batch-size", "1", "--limit", "16"),
        *("--weights", "../given/sample/vovnet39_sample.pth"),
        *("--images", "../given/sample/images", "--labels", "../given/sample/val_label.txt"),
    ),
    outputs=("vovnet39.onnx", "prep_dataset", _DEVICES[0], "result_bs1.json"),
    figures=("result/perf_*",),
    script=True,
    costly=True,
    weight=0.15,
)
QUICK = (PREPROCESS, INFO, TEXT, BINARY, ARRAYS, SCORE, REPORT, RUN_ALL)
ALL = (*QUICK, EXPORT, SAMPLE, CHAIN)


def make_given(ground: Ground, count: int, whole: bool) -> None:
    """Make what the stages are given: pictures and a model, and by the stages all the rest.

    `whole`: the bundled sample as well, with its checkpoint of VoVNet-39.
    """
    folder = ground.given
    (folder / "images").mkdir(parents=True)
    labels = []
    for number in range(count):
        name = f"picture_{number:04}.JPEG"
        picture = images.photo(300 + number % 7 * 40, 260 + number % 5 * 40, number)
        (folder / "images" / name).write_bytes(images.jpeg(picture, quality=85))
        labels.append((name, int(np.random.default_rng(number).integers(CLASSES))))
    write_labels(folder / "labels.txt", labels)
    from tests import models  # loads onnx

    models.save_classifier(folder / "vovnet39.onnx", classes=CLASSES)
    if whole:
        _make(ground, SAMPLE, folder)
    for stage in (PREPROCESS, INFO, TEXT):
        _make(ground, stage, folder)


def _make(ground: Ground, stage: Stage, folder: Path) -> None:
    ended = ground.run(stage, folder)
    if ended.code or ended.hung:
        raise AssertionError(f"{stage.name} fails on the given data: {ended.last_line()}")


def private(ground: Ground, stage: Stage) -> Path:
    """Return a new folder whose given data is a copy of its own, to be damaged."""
    folder = ground.fresh(Stage("", ()))
    shutil.copytree(
        ground.given, folder / "given", ignore=shutil.ignore_patterns("sample", "sample.*")
    )
    (folder / "work").mkdir()
    return ground.fresh(stage, folder / "work")


def run_next(stage: Stage, folder: Path) -> int:
    """Run the command that follows on what lies in `folder`; return its exit code."""
    done = subprocess.run(stage.next, cwd=folder, capture_output=True, timeout=120)
    return done.returncode
