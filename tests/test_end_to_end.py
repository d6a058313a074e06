"""From checkpoint and pictures to TopN: the pipeline against torch and torchvision alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PICTURES = 48

# The guide's driver, as its sibling models publish it: two devices, batches 1 and 16, and a parser
# that takes the eighth capture between `:` and `,`. Paths of the data set come in as arguments.
GUIDE_DRIVER = r"""#!/bin/bash
images=$1
labels=$2
rm -rf ./prep_dataset
python3 vovnet39_pth2onnx.py vovnet39_torchvision.pth vovnet39.onnx
[ $? != 0 ] && { echo "fail!"; exit 1; }
python3 vovnet_torch_preprocess.py $images ./prep_dataset
[ $? != 0 ] && { echo "fail!"; exit 1; }
python3 get_info.py bin ./prep_dataset ./vovnet_prep_bin.info 224 224
[ $? != 0 ] && { echo "fail!"; exit 1; }
rm -rf result/dumpOutput_device0
./benchmark.x86_64 -model_type=vision -device_id=0 -batch_size=1 -om_path=vovnet39_bs1.om \
    -input_text_path=./vovnet_prep_bin.info -input_width=224 -input_height=224 \
    -output_binary=False -useDvpp=False
[ $? != 0 ] && { echo "fail!"; exit 1; }
rm -rf result/dumpOutput_device1
./benchmark.x86_64 -model_type=vision -device_id=1 -batch_size=16 -om_path=vovnet39_bs16.om \
    -input_text_path=./vovnet_prep_bin.info -input_width=224 -input_height=224 \
    -output_binary=False -useDvpp=False
[ $? != 0 ] && { echo "fail!"; exit 1; }
python3 vision_metric_ImageNet.py result/dumpOutput_device0/ $labels ./ result_bs1.json
[ $? != 0 ] && { echo "fail!"; exit 1; }
python3 vision_metric_ImageNet.py result/dumpOutput_device1/ $labels ./ result_bs16.json
[ $? != 0 ] && { echo "fail!"; exit 1; }
echo "success"
"""


def published_parser(perf_file: Path) -> float:
    """Return the card rate as the guide's own parser reads it from a perf file."""
    fields = re.findall(r":(.*?),", perf_file.read_text().replace("\n", ","))
    return float(fields[7].replace("samples/s", "")) * 4


def stage(script: str, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(PROJECT / script), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def top_fractions(result: Path) -> list[str]:
    entries = json.loads(result.read_text())["value"]
    return [entry["value"] for entry in entries if entry["key"].startswith("Top")]


@pytest.fixture(scope="module")
def prepared(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, the tensors and the info file of the first pictures."""
    folder = tmp_path_factory.mktemp("end to end")
    stage(
        "vovnet39_pth2onnx.py",
        str(sample_folder / "vovnet39_sample.pth"),
        "vovnet39.onnx",
        folder=folder,
    )
    stage(
        "vovnet_torch_preprocess.py",
        str(sample_folder / "images"),
        "./prep_dataset",
        "--limit",
        str(PICTURES),
        folder=folder,
    )
    stage("get_info.py", "bin", "./prep_dataset", "./prep.info", "224", "224", folder=folder)
    return folder


@pytest.fixture(scope="module")
def expected(sample_folder: Path) -> list[str]:
    """Top1..Top5 of the same pictures by torch and torchvision, without a line of the pipeline."""
    import torch
    from PIL import Image
    from torchvision import transforms

    from models_vovnet.vovnet import vovnet39

    recipe = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    labels = dict(
        line.rsplit(" ", 1) for line in (sample_folder / "val_label.txt").read_text().splitlines()
    )
    pictures = sorted((sample_folder / "images").iterdir())[:PICTURES]
    batch = torch.stack([recipe(Image.open(path).convert("RGB")) for path in pictures])
    truth = torch.tensor([int(labels[path.name]) for path in pictures])
    weights = torch.load(sample_folder / "vovnet39_sample.pth", weights_only=True)
    network = vovnet39().eval()
    network.load_state_dict({key.removeprefix("module."): weights[key] for key in weights})
    with torch.inference_mode():
        best = network(batch).topk(5, dim=1).indices
    hits = (best == truth[:, None]).cumsum(dim=1).sum(dim=0)
    return [f"{round(int(hit) / PICTURES * 100, 2)}%" for hit in hits]


@pytest.mark.sample
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("binary", ["False", "true"])
def test_pipeline_scores_what_torch_alone_scores(
    engine: str,
    batch_size: int,
    binary: str,
    prepared: Path,
    expected: list[str],
    sample_folder: Path,
) -> None:
    stage(
        "benchmark.py",
        "-model_type=vision",
        "-device_id=0",
        f"-batch_size={batch_size}",
        "-om_path=vovnet39.onnx",
        "-input_text_path=./prep.info",
        "-input_width=224",
        "-input_height=224",
        f"-output_binary={binary}",
        "-useDvpp=False",
        f"-engine={engine}",
        folder=prepared,
    )
    stage(
        "vision_metric_ImageNet.py",
        "result/dumpOutput_device0/",
        str(sample_folder / "val_label.txt"),
        "./",
        "result.json",
        folder=prepared,
    )
    assert top_fractions(prepared / "result.json") == expected


@pytest.mark.sample
@pytest.mark.slow
def test_the_guides_driver_script_runs_as_it_is(
    sample_folder: Path, expected: list[str], tmp_path: Path
) -> None:
    # Our stages stand beside the driver, as the guide's do; the `om` files are links to the ONNX
    # file that the driver's first step makes, since there is no card to convert for.
    for name in ("vovnet39_pth2onnx.py", "vovnet_torch_preprocess.py", "get_info.py"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "vision_metric_ImageNet.py").symlink_to(PROJECT / "vision_metric_ImageNet.py")
    (tmp_path / "benchmark.x86_64").symlink_to(PROJECT / "benchmark.py")
    (tmp_path / "vovnet39_torchvision.pth").symlink_to(sample_folder / "vovnet39_sample.pth")
    for batch in (1, 16):
        (tmp_path / f"vovnet39_bs{batch}.om").symlink_to("vovnet39.onnx")
    images = tmp_path / "val"
    images.mkdir()
    for picture in sorted((sample_folder / "images").iterdir())[:PICTURES]:
        shutil.copy(picture, images)
    labels = tmp_path / "val_label.txt"
    shutil.copy(sample_folder / "val_label.txt", labels)
    (tmp_path / "driver.sh").write_text(GUIDE_DRIVER)

    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": bin_folder + os.pathsep + os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "driver.sh", str(images), str(labels)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert top_fractions(tmp_path / "result_bs1.json") == expected
    assert top_fractions(tmp_path / "result_bs16.json") == expected
    for batch, device in ((1, 0), (16, 1)):
        perf_file = tmp_path / f"result/perf_vision_batchsize_{batch}_device_{device}.txt"
        assert published_parser(perf_file) > 0


@pytest.mark.sample
def test_straight_from_the_pictures_gives_the_same_dumps_to_the_last_bit(
    prepared: Path, sample_folder: Path
) -> None:
    pictures = prepared / "some pictures"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir()
    for picture in sorted((sample_folder / "images").iterdir())[:16]:
        shutil.copy(picture, pictures)
    stage("get_info.py", "jpg", "some pictures", "jpg.info", folder=prepared)
    common = [
        "-model_type=vision",
        "-batch_size=4",
        "-om_path=vovnet39.onnx",
        "-output_binary=true",
        "-engine=onnxruntime",
    ]
    stage("vovnet_torch_preprocess.py", "some pictures", "some_prep", folder=prepared)
    stage("get_info.py", "bin", "some_prep", "some.info", "224", "224", folder=prepared)
    stage("benchmark.py", *common, "-device_id=2", "-input_text_path=some.info", folder=prepared)
    stage(
        "benchmark.py",
        *common,
        "-device_id=3",
        "-input_text_path=jpg.info",
        "-useDvpp=true",
        folder=prepared,
    )
    through_files = sorted((prepared / "result/dumpOutput_device2").glob("*.bin"))
    straight = sorted((prepared / "result/dumpOutput_device3").glob("*.bin"))
    assert [p.name for p in through_files] == [p.name for p in straight]
    assert len(straight) > 0
    for one, two in zip(through_files, straight, strict=True):
        assert one.read_bytes() == two.read_bytes()
