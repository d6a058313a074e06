"""Drivers published for sibling models work unchanged with `benchmark.<arch>` linked to our runner.

The driver and its parser are told in our own words after what some hundred of them have in common:
batch 1 on device 0 and batch 16 on device 1, one info file for both, the exit status asked for
after each step, and the eighth figure between `:` and `,` times four.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests import cards, models, standins
from tests.standins import case

PROJECT = cards.PROJECT
ARCH = platform.machine()
IMAGES = 18  # more than a batch of 16, and no multiple of it

DRIVER = r"""#!/bin/bash
datasets_path="/root/datasets"
for para in $*
do
    if [[ $para == --datasets_path* ]]; then
        datasets_path=`echo ${para#*=}`
    fi
done
arch=`uname -m`
rm -rf ./prep_dataset
python3 sibling_preprocess.py ${datasets_path}/val ./prep_dataset
if [ $? != 0 ]; then
    echo "fail!"
    exit 1
fi
python3 get_info.py bin ./prep_dataset ./sibling_prep_bin.info SIZE SIZE
if [ $? != 0 ]; then
    echo "fail!"
    exit 1
fi
source env.sh
for pair in "0 1" "1 16"
do
    set -- $pair
    rm -rf result/dumpOutput_device$1
    ./benchmark.${arch} -model_type=vision -device_id=$1 -batch_size=$2 \
        -om_path=./sibling_bs$2.om -input_text_path=./sibling_prep_bin.info \
        -input_width=SIZE -input_height=SIZE -output_binary=False -useDvpp=False
    if [ $? != 0 ]; then
        echo "fail!"
        exit 1
    fi
done
python3 vision_metric_ImageNet.py result/dumpOutput_device0/ \
    ${datasets_path}/val_label.txt ./ result_bs1.json
if [ $? != 0 ]; then
    echo "fail!"
    exit 1
fi
python3 vision_metric_ImageNet.py result/dumpOutput_device1/ \
    ${datasets_path}/val_label.txt ./ result_bs16.json
if [ $? != 0 ]; then
    echo "fail!"
    exit 1
fi
echo "====accuracy data===="
python3 parse.py result_bs1.json
python3 parse.py result_bs16.json
echo "====performance data===="
python3 parse.py result/perf_vision_batchsize_1_device_0.txt
python3 parse.py result/perf_vision_batchsize_16_device_1.txt
echo "success"
"""

PARSER = """
import json, re, sys
name = sys.argv[1]
text = open(name).read()
if name.endswith(".json"):
    tag = name.split("_", 1)[1].split(".")[0]
    values = {entry["key"][:4]: entry["value"] for entry in json.loads(text)["value"]}
    print("om", tag, f"top1:{values['Top1']} top5:{values['Top5']}")
elif "PureInfer" in name:
    rate = float(re.findall("=(.*?),", text.replace("\\n", ","))[0].replace("samples/s", ""))
    print("310", name.split("_")[3], f"fps:{rate * 4}")
else:
    rate = float(re.findall(":(.*?),", text.replace("\\n", ","))[7].replace("samples/s", ""))
    print(f"310 bs{name.split('_')[3]} fps:{rate * 4}")
"""

# The siblings' own step, at any size: here the pictures are there as arrays.
PREPROCESS = """
import pathlib, sys
import numpy as np
source, target = map(pathlib.Path, sys.argv[1:])
target.mkdir()
for picture in source.iterdir():
    np.load(picture).tofile(target / (picture.name.split(".")[0] + ".bin"))
"""


@dataclass(frozen=True)
class Sibling:
    """A model like those of the guide's siblings."""

    size: int
    classes: int
    extra_outputs: bool = False


def make(sibling: Sibling, folder: Path) -> list[str]:
    """Fill `folder` with driver, model, pictures and labels; return Top1 and Top5."""
    models.save_classifier(
        folder / "sibling.onnx",
        size=sibling.size,
        classes=sibling.classes,
        extra_outputs=sibling.extra_outputs,
        output_name="class",
    )
    for batch in (1, 16):
        (folder / f"sibling_bs{batch}.om").symlink_to("sibling.onnx")
    (folder / "data/val").mkdir(parents=True)
    shape = (IMAGES, 3, sibling.size, sibling.size)
    pictures = np.random.default_rng(5).standard_normal(shape, dtype=np.float32)
    scores = models.expected(folder / "sibling.onnx", pictures)[0]
    order, lines, ranks = np.argsort(-scores, axis=1), [], []
    background = int(sibling.classes == 1001)
    for n, picture in enumerate(pictures):
        name = f"ILSVRC2012_val_{n + 1:08d}"
        np.save(folder / f"data/val/{name}.npy", picture)
        # Label n is output n + 1 where the first output is the background.
        output = next(one for one in order[n][n % 6 :] if one >= background)
        ranks.append(order[n].tolist().index(output))
        lines.append(f"{name}.JPEG {output - background}")
    (folder / "data/val_label.txt").write_text("\n".join(lines) + "\n")
    for script in ("get_info.py", "vision_metric_ImageNet.py"):
        (folder / script).symlink_to(PROJECT / script)
    (folder / f"benchmark.{ARCH}").symlink_to(PROJECT / "benchmark.py")
    (folder / "sibling_preprocess.py").write_text(PREPROCESS)
    (folder / "parse.py").write_text(PARSER)
    (folder / "env.sh").write_text("export install_path=/usr/local/Ascend/ascend-toolkit/latest\n")
    (folder / "driver.sh").write_text(DRIVER.replace("SIZE", str(sibling.size)))
    return [f"{round(sum(r < top for r in ranks) / IMAGES * 100, 2)}%" for top in (1, 5)]


def drive(folder: Path, **more: str) -> str:
    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": bin_folder + os.pathsep + os.environ["PATH"]} | more
    done = subprocess.run(
        ["bash", "driver.sh", "--datasets_path=./data"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def last_lines(out: str) -> tuple[list[str], list[str]]:
    """Return the lines of the parser: those of the accuracy, and those of the speed."""
    accuracy = out.split("====accuracy data====\n")[1].splitlines()
    return accuracy[:2], accuracy[3:5]


@pytest.mark.parametrize(
    "sibling",
    [Sibling(240, 1000), Sibling(299, 1001), Sibling(384, 10, extra_outputs=True)],
    ids=["240, 1000 classes", "299, 1001 classes", "384, 10 classes, three outputs"],
)
def test_the_driver_of_a_sibling_runs_unchanged(sibling: Sibling, tmp_path: Path) -> None:
    top1, top5 = make(sibling, tmp_path)
    out = drive(tmp_path)
    accuracy, speed = last_lines(out)
    assert accuracy == [f"om bs{b} top1:{top1} top5:{top5}" for b in (1, 16)]
    for line, batch in zip(speed, (1, 16), strict=True):
        match = re.fullmatch(rf"310 bs{batch} fps:([0-9.e+]+)", line)
        assert match
        assert float(match[1]) > 0
    classes = json.loads((tmp_path / "result_bs1.json").read_text())["value"][1]
    assert classes == {"key": "Number of classes", "value": str(sibling.classes)}
    outputs = 3 if sibling.extra_outputs else 1
    for device in (0, 1):
        assert len(list((tmp_path / f"result/dumpOutput_device{device}").iterdir())) == (
            IMAGES * outputs
        )
    assert out.endswith("success\n")


def test_with_an_om_the_tool_and_our_runner_give_the_driver_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sibling = Sibling(240, 10)
    top1, top5 = make(sibling, tmp_path)
    for batch in (1, 16):
        Path(f"sibling_bs{batch}.om").unlink()
        words = [f"--input_shape=image:{batch},3,240,240", f"--output=sibling_bs{batch}"]
        words += ["--framework=5", "--model=sibling.onnx", "--soc_version=Ascend310"]
        assert cards.run("atc", *words).returncode == 0
    stand_ins = standins.environment()
    variables = {name: stand_ins[name] for name in ("PATH", "PYTHONPATH")}
    tool = standins.BIN / f"benchmark.{ARCH}"
    for program in (PROJECT / "benchmark.py", tool):
        link = Path(f"benchmark.{ARCH}")
        link.unlink()
        if program == tool:
            link.write_text(f'#!/bin/sh\nexec {shlex.quote(str(tool))} "$@"\n')
            link.chmod(0o755)
            shutil.rmtree("result")
        else:
            link.symlink_to(program)
        accuracy, _ = last_lines(drive(tmp_path, **variables))
        assert accuracy == [f"om bs{b} top1:{top1} top5:{top5}" for b in (1, 16)]


def test_whole_numbers_are_exact_in_binary_and_in_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case.fill()
    models.save_classifier(Path("m.onnx"), size=case.SIZE, classes=1000, extra_outputs=True)
    _, top, _ = models.expected(Path("m.onnx"), case.pictures())
    for device, binary in ((0, "True"), (1, "False")):
        done = cards.benchmark(om_path="m.onnx", device_id=device, output_binary=binary)
        assert done.returncode == 0, done.stderr
    for n in range(case.IMAGES):
        raw = np.fromfile(f"result/dumpOutput_device0/im_{n}_2.bin", np.int64)
        text = Path(f"result/dumpOutput_device1/im_{n}_2.txt").read_text()
        assert raw.tolist() == top[n].tolist() == [int(text)]
    assert top.max() > 255


def test_pure_inference_as_published_with_its_own_parser(tmp_path: Path) -> None:
    models.save_classifier(tmp_path / "sibling_bs4.om", size=240)
    (tmp_path / f"benchmark.{ARCH}").symlink_to(PROJECT / "benchmark.py")
    (tmp_path / "parse.py").write_text(PARSER)
    bin_folder = str(Path(sys.executable).parent)
    script = (
        f"./benchmark.{ARCH} -round=20 -om_path=sibling_bs4.om -device_id=0 -batch_size=4 &&"
        " python3 parse.py result/PureInfer_perf_of_sibling_bs4_in_device_0.txt"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": bin_folder + os.pathsep + os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"310 sibling fps:[0-9.e+]+", lines[-1])
    assert re.fullmatch(r"\[INFO\] Dataset number: 19 finished cost [0-9.e+]+ms", lines[20])


@pytest.mark.parametrize("flag", ["-model_type=nlp", "-model_type=bert", "-model_type=yolocaffe"])
def test_what_is_not_covered_fails_so_that_a_driver_stops(flag: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "benchmark.py"), flag, "-om_path=m.om", "-round=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "is known but not supported here" in done.stderr
    shutil.rmtree(tmp_path)
