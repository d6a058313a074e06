"""The stand-ins for the benchmark tool and npu-smi against the published formats."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests import models, standins
from tests.standins import atc, benchmark, case, npu_smi
from tests.standins.case import BATCH, CLASSES, IMAGES, SIZE, convert, measure, scores


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that has the case, with no variable of the stand-ins set."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STANDIN_")]:
        monkeypatch.delenv(name)
    case.fill()
    return tmp_path


def test_the_guides_commands_work_through_the_shell(place: Path) -> None:
    script = f"""set -e
    atc --framework=5 --model ./m.onnx --input_format=NCHW \\
        --input_shape="image:{BATCH},3,{SIZE},{SIZE}" --output=m_bs{BATCH} --log=debug \\
        --soc_version=Ascend310
    benchmark.x86_64 --model_type=vision -device_id=1 -batch_size={BATCH} -om_path=m_bs{BATCH}.om \\
        -input_text_path=./float.info -input_width={SIZE} -input_height={SIZE} \\
        -output_binary=False -useDvpp=False
    npu-smi info"""
    run = subprocess.run(
        ["bash", "-c", script], env=standins.environment(), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr.count("stand-in") == 3
    lines = run.stdout.splitlines()
    assert lines[:2] == [
        "ATC start working now, please wait for a moment.",
        "ATC run success, welcome to the next use.",
    ]
    assert Path("fusion_result.json").exists() and Path("kernel_meta").is_dir()
    assert Path(f"m_bs{BATCH}.om").read_bytes().startswith(b"IMOD")
    assert len(list(Path("result/dumpOutput_device1").glob("im_*_1.txt"))) == IMAGES
    assert re.search(r"\| 1 +310 +\| OK ", run.stdout)


def test_the_perf_file_reads_as_published_parsers_read_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert()
    for tags, infer in (("", "[infer]"), ("5.1", "[inference]")):
        monkeypatch.setenv("STANDIN_PERF_TAGS", tags)
        assert measure() == 0
        path = "result/perf_vision_batchsize_4_device_0.txt"
        text = Path(path).read_text()
        assert path.split("_")[3] == "4"
        assert [line.split("]")[0] + "]" for line in text.splitlines()][3] == infer
        found = re.findall(r":(.*?),", text.replace("\n", ",") + ",")
        assert len(found) == 11
        e2e, latency, read, read_ms, _, _, rate, interface, _, post, post_ms = map(float, found)
        assert found[7].strip() == f"{interface:.6g}" and interface > 0
        assert e2e * latency / 1000 == pytest.approx(IMAGES, rel=1e-4)
        assert read * read_ms == pytest.approx(1000, rel=1e-4)
        assert post * post_ms == pytest.approx(1000, rel=1e-4)
        assert rate / post == pytest.approx(IMAGES / 3, rel=1e-4)


def test_text_is_one_line_with_a_space_after_each_value(place: Path) -> None:
    models.save_classifier(place / "x.onnx", size=SIZE, classes=CLASSES, extra_outputs=True)
    convert(model="x")
    assert measure("-output_binary=False", model="x") == 0
    folder = Path("result/dumpOutput_device0")
    assert len(list(folder.iterdir())) == 3 * IMAGES
    for number, count in ((1, CLASSES), (2, 1), (3, 48)):
        words = (folder / f"im_9_{number}.txt").read_text().split("\n")[0].split(" ")
        assert len(words[:-1]) == count and words[-1] == ""
    assert (folder / "im_9_2.txt").read_text() == "0 \n"  # int64 is lost in text
    assert measure("-output_binary=true", model="x") == 0
    assert (scores(2, "int64")[:, 0] == scores(1).argmax(axis=1)).all()


def test_pure_inference_says_what_the_guides_show(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert()
    capsys.readouterr()
    words = ["-round=3", "-om_path=m_bs4.om", "-device_id=2", "-batch_size=4"]
    assert benchmark.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\[INFO\] Dataset number: 2 finished cost [0-9.e-]+ms", lines[2])
    name = "PureInfer_perf_of_m_bs4_in_device_2.txt"
    assert lines[3] == f"[INFO] PureInfer result saved in ./result/{name}"
    assert lines[5].startswith("[INFO] ave_throughputRate: ")
    text = Path("result", name).read_text()
    assert text.endswith("ms\n") and len(text.splitlines()) == 1
    rate = re.findall(r"=(.*?),", text)[0].strip().removesuffix("samples/s")
    latency = text.rpartition("= ")[2].removesuffix("ms\n")
    assert float(rate) * float(latency) / 1000 >= 0.999
    assert benchmark.main([*words, "-model_type=vision"]) != 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("-speed=1", "unknown command line flag 'speed'"),
        ("-batch_size", "-name=value"),
        ("-model_type=audio", "illegal value"),
        ("-device_id=4", "acl open device 4 failed"),
        ("-batch_size=1", "input size mismatch"),
        ("-om_path=m.onnx", "load model from file failed"),
        ("-input_text_path=none.info", "open none.info failed"),
        ("-input_text_path=uint8.info", "input size mismatch"),
        ("-useDvpp=true", "DVPP"),
        ("-round=2000", "1024"),
    ],
)
def test_the_tool_refuses_what_does_not_fit(
    place: Path, capsys: pytest.CaptureFixture[str], change: str, text: str
) -> None:
    convert()
    assert measure(change) != 0
    said = capsys.readouterr()
    assert text in said.out + said.err
    assert not list(place.glob("result/perf*"))


def test_an_om_runs_on_its_own_chip_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert("--soc_version=Ascend310P3")
    assert measure() != 0
    monkeypatch.setenv("STANDIN_CHIP", "310P3")
    assert measure() == 0
    assert measure("-device_id=1") != 0


def test_several_inputs_come_line_by_line(place: Path) -> None:
    models.save_two_inputs(place / "two.onnx")
    words = ["--framework=5", "--model=two.onnx", "--input_shape=a:2,4;b:2,4", "--output=two"]
    assert atc.main([*words, "--soc_version=Ascend310"]) == 0
    lines = []
    for n in range(3):
        for name in ("a", "b"):
            np.full(4, n + 1, np.float32).tofile(f"{name}_{n}.bin")
            lines.append(f"{n} ./{name}_{n}.bin\n")
    Path("two.info").write_text("".join(lines))
    words = ["-batch_size=2", "-om_path=two.om", "-input_text_path=two.info"]
    assert benchmark.main(["-model_type=nlp", *words]) == 0
    assert Path("result/dumpOutput_device0/a_2_1.txt").read_text() == "6 6 6 6 \n"
    sizes = ["-input_width=1", "-input_height=1"]
    assert benchmark.main(["-model_type=vision", *sizes, *words]) != 0


@pytest.mark.parametrize(
    ("fault", "status", "dumps"),
    [
        ("stop_after:3", 1, 3),
        ("partial:3", 0, 3),
        ("killed_after:3", -9, 3),
        ("device_dies:0/4", 1, 4),
        ("device_busy:0", 1, 0),
        ("batch_mismatch", 1, 0),
    ],
)
def test_the_tool_fails_on_demand(place: Path, fault: str, status: int, dumps: int) -> None:
    convert()
    words = f"-model_type=vision -batch_size={BATCH} -om_path=m_bs4.om -input_width={SIZE}"
    run = subprocess.run(
        [
            "benchmark.x86_64",
            *words.split(),
            f"-input_height={SIZE}",
            "-input_text_path=float.info",
        ],
        env=standins.environment(STANDIN_FAULT=fault),
        capture_output=True,
    )
    assert run.returncode == status, run.stderr
    assert len(list(place.glob("result/dumpOutput_device0/*"))) == dumps
    assert not list(place.glob("result/perf*"))


def test_an_output_too_many_is_dumped_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert()
    monkeypatch.setenv("STANDIN_FAULT", "wrong_outputs")
    assert measure() == 0
    assert len(list(place.glob("result/dumpOutput_device0/*_2.txt"))) == IMAGES


def test_npu_smi_shows_two_rows_per_chip(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for chip, devices in (("310", 4), ("310P3", 1)):
        monkeypatch.setenv("STANDIN_CHIP", chip)
        assert npu_smi.main(["info"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len({len(line) for line in lines}) == 1
        assert re.fullmatch(r"\| npu-smi [0-9.]+ +Version: [0-9.]+ +\|", lines[1])
        assert lines[3].startswith("| NPU     Name      | Health ")
        rows = [line for line in lines[6:] if line.startswith("|")]
        assert [row.split()[2] for row in rows[::2]] == [chip] * devices
        assert [int(row.split()[2]) for row in rows[1::2]] == list(range(devices))
    monkeypatch.setenv("STANDIN_FAULT", "no_driver")
    assert npu_smi.main(["info"]) != 0
    assert "dcmi module initialize failed" in capsys.readouterr().out
