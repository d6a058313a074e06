"""The network that the engines are measured with, in all the forms that they take.

Run as `python -m benchmarks.network FOLDER ARCH CALIBRATED [WEIGHTS]`, in a process of its own, so
that torch is not in the memory of the one that measures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.peers.engines import Models
from benchmarks.pictures import make_photos
from pipeline import progress
from pipeline.errors import PipelineError

SEED = 39
CHECKED = 16  # pictures that the outputs are checked on
CALIBRATED, QUICK_CALIBRATED = 64, 32


def make(models: Models, arch: str, weights: Path | None, quick: bool) -> None:
    """Fill the folder: checkpoint, ONNX by the project's own command, int8, inputs, reference.

    PipelineError where one of them cannot be made.
    """
    calibrated = str(QUICK_CALIBRATED if quick else CALIBRATED)
    words: list[str | Path] = [models.folder, arch, calibrated, *([weights] if weights else [])]
    progress.note(f"make the network {arch}: checkpoint, ONNX, int8")
    done = subprocess.run(
        harness.python("-m", "benchmarks.network", *words),
        cwd=harness.PROJECT,
        env=harness.environment(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise PipelineError(f"the network cannot be made: {harness.last_line(done.stderr)}")


def main(folder: Path, arch: str, calibrated: int, weights: Path | None) -> None:
    """Make everything.

    Without `weights` the network has seeded random weights and its batch norm has the statistics
    of the pictures, so that the numbers in it are as large as a trained network's: speed does not
    depend on what a network knows.
    """
    from pipeline.imagenet.transform import prepare

    models = Models(folder)
    files = make_photos(folder / "photos", CHECKED + calibrated)
    pictures = np.stack([prepare(path) for path in files])
    np.save(models.inputs, pictures[:CHECKED])
    if weights is None:
        _save_random(models.checkpoint, arch, pictures[:CHECKED])
    else:
        models.checkpoint.write_bytes(weights.read_bytes())
    script = harness.PROJECT / "vovnet39_pth2onnx.py"
    subprocess.run(
        harness.python(script, models.checkpoint, models.onnx, "--arch", arch),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    np.save(models.reference, _reference(models.checkpoint, arch, pictures[:CHECKED]))
    _quantise(models, pictures[CHECKED:])


def _save_random(path: Path, arch: str, pictures: NDArray[np.float32]) -> None:
    import torch

    from models_vovnet import vovnet

    torch.manual_seed(SEED)
    network = vovnet.build(arch)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain mean over what is seen
    with torch.no_grad():
        network.train()(torch.from_numpy(pictures))
    torch.save(network.state_dict(), path)


def _reference(checkpoint: Path, arch: str, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    from models_vovnet.checkpoint import load

    with torch.inference_mode():
        network = load(checkpoint, arch).network()
        logits: NDArray[np.float32] = network(torch.from_numpy(pictures)).numpy()
    return logits


def _quantise(models: Models, pictures: NDArray[np.float32]) -> None:
    """Write the int8 model by the project's own recipe, from pictures that are not checked on."""
    from pipeline import prepared, quantize

    folder = models.folder / "calibration"
    folder.mkdir()
    chosen = []
    for number, picture in enumerate(pictures):
        path = folder / f"{number}.bin"
        picture.tofile(path)
        chosen.append(prepared.Picture(path, str(number), False))
    recipe = quantize.Recipe(reduce_range=quantize.needs_reduced_range())
    quantize.quantize(quantize.inspect(models.onnx), chosen, recipe, models.int8)


if __name__ == "__main__":
    weights = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), weights)
