"""A small case for tests of the stand-ins: a model, pictures in both forms, the guide's commands.

All paths are relative to the current directory, which `fill` fills.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import models
from tests.standins import atc, benchmark

SIZE, CLASSES, IMAGES, BATCH = 32, 10, 10, 4
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
RECIPROCAL = np.array([0.0171247538316637, 0.0175070028011204, 0.0174291938997821], np.float32)
AIPP = "aipp_op {\n  aipp_mode: static\n  input_format : RGB888_U8  # bytes\n" + "".join(
    f"  min_chn_{i} : {MEAN[i]}\n  var_reci_chn_{i} : {RECIPROCAL[i]}\n" for i in range(3)
)


def fill() -> None:
    """Write m.onnx, and as float32 and as uint8 pictures `<kind>/im_<n>.bin` and `<kind>.info`."""
    models.save_classifier(Path("m.onnx"), size=SIZE, classes=CLASSES)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8)
    floats = ((pixels - MEAN) * RECIPROCAL).transpose(0, 3, 1, 2).astype(np.float32)
    for kind, arrays in (("float", floats), ("uint8", pixels)):
        Path(kind).mkdir()
        lines = []
        for n, array in enumerate(arrays):
            Path(kind, f"im_{n}.bin").write_bytes(array.tobytes())
            lines.append(f"{n} ./{kind}/im_{n}.bin {SIZE} {SIZE}\n")
        Path(f"{kind}.info").write_text("".join(lines))


def convert(*more: str, batch: int = BATCH, model: str = "m") -> int:
    """Convert `model`.onnx as the guide does, with the options `more` after its own."""
    return atc.main(
        [
            *("--framework=5", f"--model=./{model}.onnx", "--input_format=NCHW"),
            *(f"--input_shape=image:{batch},3,{SIZE},{SIZE}", f"--output={model}_bs{batch}"),
            *("--log=debug", "--soc_version=Ascend310", *more),
        ]
    )


def measure(*more: str, model: str = "m", kind: str = "float") -> int:
    """Run the tool over the pictures of a kind as the guide does, with `more` after its own."""
    return benchmark.main(
        [
            *("-model_type=vision", "-device_id=0", f"-batch_size={BATCH}"),
            *(f"-om_path={model}_bs{BATCH}.om", f"-input_text_path=./{kind}.info"),
            *(f"-input_width={SIZE}", f"-input_height={SIZE}", "-useDvpp=False", *more),
        ]
    )


def scores(number: int = 1, dtype: str = "float32") -> NDArray[Any]:
    """Return what the tool dumped on device 0 for output `number`, all pictures in order."""
    folder = Path("result/dumpOutput_device0")
    return np.stack([np.fromfile(folder / f"im_{n}_{number}.bin", dtype) for n in range(IMAGES)])


def pictures() -> NDArray[np.float32]:
    """Return the float32 pictures, (IMAGES, 3, SIZE, SIZE)."""
    files = [np.fromfile(f"float/im_{n}.bin", np.float32) for n in range(IMAGES)]
    return np.stack(files).reshape(IMAGES, 3, SIZE, SIZE)
