"""A copy of the project with a small model in place of the network, for tests of the card's path.

Everything else is the project's own; the Ascend software is the stand-ins'.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.imagenet.transform import prepare
from tests import models, standins

PROJECT = Path(__file__).resolve().parent.parent
TOOL = f"benchmark.{platform.machine()}"
IMAGES = 6
SIZES = ("1", "4")

_SCRIPTS = (
    "run_all.sh",
    "vovnet_torch_preprocess.py",
    "get_info.py",
    "benchmark.py",
    "vision_metric_ImageNet.py",
    "perf_report.py",
)
# The export takes seconds and a checkpoint of 90 MB; here a checkpoint is an ONNX file.
_EXPORT = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parent))
from pipeline import record
weights, onnx = map(Path, sys.argv[1:3])
with record.keeping(record.Run("export", [weights], [onnx], {})):
    onnx.write_bytes(weights.read_bytes())
"""


class Project:
    """A copy of the project, its pictures, and what the stand-ins have been called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.data = folder.parent / "data"
        folder.mkdir(parents=True)
        for name in _SCRIPTS:
            shutil.copy(PROJECT / name, folder)
        for room in ("cli", "pipeline", "models_vovnet"):
            shutil.copytree(
                PROJECT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__")
            )
        (folder / "vovnet39_pth2onnx.py").write_text(_EXPORT)
        # As env.sh does, .venv comes first on PATH: what is in it is the project's own Python.
        (folder / "env.sh").write_text(f"PATH='{folder}/.venv/bin':$PATH\nexport PATH\n")
        self.program(folder / ".venv/bin/python3", f'exec "{sys.executable}" "$@"')
        self.program(self.data / "bin/python3", f'exec "{sys.executable}" "$@"')
        self._draw()
        self.own = (
            *("--weights", str(self.data / "weights.pth"), "--images", str(self.data / "images")),
            *("--labels", str(self.data / "val_label.txt")),
        )

    @staticmethod
    def program(path: Path, text: str) -> None:
        """Write a shell script that can be executed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def _draw(self) -> None:
        images = self.data / "images"
        images.mkdir()
        models.save_classifier(self.data / "weights.pth", classes=1000)
        rng = np.random.default_rng(0)
        for number in range(IMAGES):
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            coarse.resize((300, 260)).save(images / f"val_{number}.png")
        tensors = np.stack([prepare(images / f"val_{n}.png") for n in range(IMAGES)])
        best = models.expected(self.data / "weights.pth", tensors)[0].argmax(axis=1)
        best[-1] += 1  # so that Top1 is not simply 100 %
        lines = [f"val_{number}.png {label}\n" for number, label in enumerate(best.tolist())]
        (self.data / "val_label.txt").write_text("".join(lines))

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment with the stand-ins, and with a python3 of no environment."""
        found = standins.environment(**variables)
        found["PATH"] = os.pathsep.join([str(self.data / "bin"), found["PATH"]])
        return found

    def run(
        self,
        *options: str,
        code: int = 0,
        env: Mapping[str, str] | None = None,
        standin: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the card's path on the own pictures with batch sizes `SIZES`; check its exit code.

        `standin` are variables of the stand-ins, without `STANDIN_` in front.
        """
        variables = {f"STANDIN_{name}": value for name, value in (standin or {}).items()}
        words = ["--device", "ascend", *self.own]
        if "--batch-size" not in options:
            words += ["--batch-size", " ".join(SIZES)]
        done = subprocess.run(
            [str(self.folder / "run_all.sh"), *words, *options],
            cwd=self.folder.parent,
            env=self.environment(**variables) if env is None else env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def result(self, batch: str) -> str:
        """Return what the scorer wrote for a batch size."""
        return (self.work / f"result_bs{batch}.json").read_text()


def without(env: dict[str, str], *names: str, folder: Path) -> dict[str, str]:
    """Return `env` with the stand-ins but for those of `names`, as if they were not installed."""
    folder.mkdir()
    for program in _programs():
        if program.name not in names:
            (folder / program.name).symlink_to(program)
    path = env["PATH"].replace(str(standins.BIN), str(folder))
    changed = env | {"PATH": path}
    if "ais_bench" in names:
        changed.pop("PYTHONPATH")
    return changed


def _programs() -> Iterator[Path]:
    return (path for path in standins.BIN.iterdir() if path.is_file())
