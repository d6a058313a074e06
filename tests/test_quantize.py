"""int8: the recipe and its traps, by the command that a user types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pipeline import engines, prepared, quantize, record
from pipeline.engines import Settings
from pipeline.errors import PipelineError
from tests import convnets, models
from tests.convnets import Pictures

SCRIPT = Path(__file__).resolve().parent.parent / "vovnet39_quantize.py"
ENGINES = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Given:
    """A network and pictures, in a folder of their own."""

    folder: Path
    network: Path
    pictures: Pictures


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("a place") / "for all"
    folder.mkdir()
    return Given(
        folder,
        convnets.save_network(folder / "a network.onnx"),
        convnets.write_pictures(folder / "pictures", 372, seed=1),
    )


def quantize_py(
    cwd: Path, *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    env = os.environ | environment
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=env)


def subset(given: Given, tmp_path: Path, start: int, stop: int) -> Path:
    files = sorted(given.pictures.folder.iterdir())[start:stop]
    return convnets.list_pictures(tmp_path / f"{start} to {stop}.info", files)


@pytest.fixture(scope="module")
def made(given: Given) -> tuple[Path, subprocess.CompletedProcess[str]]:
    target = given.folder / "int8.onnx"
    run = quantize_py(
        given.folder,
        *(given.network, given.pictures.info, target),
        *("--labels", given.pictures.labels, "--quiet"),
    )
    assert run.returncode == 0, run.stderr
    return target, run


def test_an_int8_model_is_written_with_one_verdict_and_no_noise(
    made: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    target, run = made
    (line,) = run.stdout.splitlines()
    assert line.startswith("OK: 5 of 5 layers in int8")
    assert "calibrated on 64 pictures" in line
    assert "int8 holds: Top1 " in line
    assert "308 pictures" in line
    assert line.endswith(f"-> {target}")
    assert run.stderr == ""


def test_the_file_is_u8s8_qdq_at_opset_13_with_a_scale_per_channel(
    made: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    model = onnx.load_model(made[0])
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 13
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    sources = {node.output[0]: node for node in model.graph.node}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 4
    for node, channels in zip(convolutions, convnets.CHANNELS[1:], strict=True):
        data, weights = sources[node.input[0]], sources[node.input[1]]
        assert data.op_type == weights.op_type == "DequantizeLinear"
        assert constants[data.input[2]].dtype == np.uint8
        assert constants[data.input[1]].size == 1
        assert constants[weights.input[0]].dtype == np.int8
        assert constants[weights.input[1]].shape == (channels,)


@pytest.mark.parametrize("engine", ENGINES)
def test_both_engines_run_it_as_int8_and_answer_as_fp32_does(
    engine: str, given: Given, made: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    pixels, _ = convnets.draw(40, seed=5)
    batch = convnets.as_tensors(pixels)
    (wanted,) = engines.load(engine, given.network, Settings(40)).infer(0, batch)
    session = engines.load(engine, made[0], Settings(40, precision="int8"))
    (found,) = session.infer(0, batch)
    assert session.precision == "int8"
    assert not np.array_equal(found, wanted)
    assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.97


def test_precisions_are_refused_that_a_model_does_not_have(
    given: Given, made: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    with pytest.raises(PipelineError, match=r"is an int8 model, and the precision .* is fp32"):
        engines.load("onnxruntime", made[0], Settings(1))
    with pytest.raises(PipelineError, match=r"is no int8 model; make one"):
        engines.load("openvino", given.network, Settings(1, precision="int8"))


def test_the_record_keeps_the_calibration_set_and_the_figures(
    given: Given, made: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    content = record.load(made[0])
    assert content is not None
    assert (content["stage"], content["status"]) == ("quantize", "complete")
    used = content["details"]["calibration"]
    assert len({entry["sha256"] for entry in used["pictures"]}) == 64
    assert len(used["set_sha256"]) == 64
    judgement = content["details"]["judgement"]
    assert (judgement["outcome"], judgement["pictures"]) == ("trusted", 308)
    assert judgement["agreement"] >= 0.97
    assert content["settings"]["method"] == "minmax"
    assert str(given.pictures.folder) in [entry["path"] for entry in content["inputs"]]


def test_the_same_inputs_give_the_same_bytes(given: Given, tmp_path: Path) -> None:
    info = subset(given, tmp_path, 0, 40)
    for name, seed in (("a.onnx", "1"), ("b.onnx", "2")):
        run = quantize_py(tmp_path, given.network, info, name, "--no-judge", PYTHONHASHSEED=seed)
        assert run.returncode == 0, run.stderr
        assert "not judged, as asked for" in run.stdout
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_the_other_methods_work_and_are_as_quiet(method: str, given: Given, tmp_path: Path) -> None:
    info = subset(given, tmp_path, 0, 40)
    how = ("--no-judge", "--method", method, "--quiet")
    run = quantize_py(tmp_path, given.network, info, "x.onnx", *how)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 1
    assert run.stderr == ""


@pytest.mark.parametrize("traits", [{"batch": 7}, {"dtype": "uint8"}, {"opset": 13}])
def test_fixed_batches_pixels_and_newer_opsets_are_taken(
    traits: dict[str, Any], tmp_path: Path
) -> None:
    network = convnets.save_network(tmp_path / "n.onnx", **traits)
    dtype = traits.get("dtype", "float32")
    pictures = convnets.write_pictures(tmp_path / "pictures", 341, seed=2, dtype=dtype)
    run = quantize_py(tmp_path, network, pictures.info, "x.onnx", "--images", 40)
    assert run.returncode == 0, run.stderr
    assert "301 pictures" in run.stdout


def test_a_model_that_8_bits_ruin_is_refused_and_the_old_file_stays(
    given: Given, tmp_path: Path
) -> None:
    network = convnets.save_network(tmp_path / "n.onnx", loud_channel=True)
    target = tmp_path / "x.onnx"
    target.write_bytes(b"an older one")
    run = quantize_py(
        tmp_path, network, given.pictures.info, target, "--labels", given.pictures.labels
    )
    assert run.returncode == 1
    assert run.stdout.startswith("FAILED: int8 is not to be trusted, agreement below 97%")
    assert "Top1 falls by more than 1 points" in run.stdout
    assert "nothing was written" in run.stdout
    assert target.read_bytes() == b"an older one"
    assert not record.path_of(target).exists()


def test_too_few_held_out_pictures_are_said_before_the_work(given: Given, tmp_path: Path) -> None:
    info = subset(given, tmp_path, 0, 276)
    run = quantize_py(tmp_path, given.network, info, "x.onnx")
    assert run.returncode == 1
    assert run.stdout.startswith("FAILED: too few to judge: 212 of 300 held-out pictures")
    assert not (tmp_path / "x.onnx").exists()


def test_pictures_of_the_calibration_set_are_not_judged_on(given: Given, tmp_path: Path) -> None:
    calibration = subset(given, tmp_path, 0, 64)
    copies = tmp_path / "under other names"
    copies.mkdir()
    for file in sorted(given.pictures.folder.iterdir())[60:364]:
        shutil.copy(file, copies / f"copy of {file.name}")
    held_out = convnets.list_pictures(tmp_path / "held out.info", sorted(copies.iterdir()))
    run = quantize_py(tmp_path, given.network, calibration, "x.onnx", "--judge", held_out)
    assert run.returncode == 0, run.stderr
    assert "left out: 4 in the calibration set" in run.stdout
    assert "300 pictures" in run.stdout


def test_the_sample_kind_of_network_judges_nothing_and_says_so(
    given: Given, tmp_path: Path
) -> None:
    network = convnets.save_network(tmp_path / "n.onnx", weights="normal")
    info = subset(given, tmp_path, 0, 50)
    run = quantize_py(tmp_path, network, info, "x.onnx", "--images", 40)
    assert run.returncode == 0, run.stderr
    assert "a network that was never trained judges nothing" in run.stdout
    content = record.load(tmp_path / "x.onnx")
    assert content is not None
    assert content["details"]["judgement"]["outcome"] == "untrained"


def test_copies_count_once_and_one_colour_not_at_all(given: Given, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    files = sorted(given.pictures.folder.iterdir())[:31]
    for number, file in enumerate(files):
        shutil.copy(file, folder / f"{number}.bin")
        shutil.copy(file, folder / f"{number}-again.bin")
    white = np.ones((3, convnets.SIZE, convnets.SIZE), np.float32)
    white[1] = -1
    (folder / "one-colour.bin").write_bytes(white.tobytes())
    info = convnets.list_pictures(tmp_path / "few.info", sorted(folder.iterdir()))
    run = quantize_py(tmp_path, given.network, info, "x.onnx", "--no-judge")
    assert run.returncode == 1
    assert "too few to calibrate: 31 of 32 different pictures" in run.stderr
    assert "31 copies of others, 1 of one colour throughout" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_noise_is_refused(given: Given, tmp_path: Path) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        noise = rng.standard_normal((3, convnets.SIZE, convnets.SIZE), dtype=np.float32)
        (folder / f"{number}.bin").write_bytes(noise.tobytes())
    info = convnets.list_pictures(tmp_path / "noise.info", sorted(folder.iterdir()))
    run = quantize_py(tmp_path, given.network, info, "x.onnx", "--no-judge")
    assert run.returncode == 1
    assert "40 of 40 tensors look like noise" in run.stderr
    run = quantize_py(tmp_path, given.network, given.pictures.info, "x.onnx", "--judge", info)
    assert run.returncode == 1
    assert f"{info}: 40 of 40 tensors look like noise" in run.stderr


def test_nothing_is_left_in_the_folder_for_temporary_files(given: Given, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    network = convnets.save_network(tmp_path / "n.onnx", loud_channel=True)
    for model in (given.network, network):
        quantize_py(tmp_path, model, given.pictures.info, "x.onnx", TMPDIR=str(scratch))
    assert list(scratch.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "n.onnx",
        "scratch",
        "x.onnx",
        "x.onnx.record.json",
    ]


def broken(case: str, given: Given, tmp_path: Path) -> tuple[object, ...]:
    info = subset(given, tmp_path, 0, 40)
    lone = tmp_path / "lone.bin"
    if case == "size":
        lone.write_bytes(bytes(17))
    elif case == "nan":
        lone.write_bytes(np.full((3, 64, 64), np.nan, np.float32).tobytes())
    odd = convnets.list_pictures(tmp_path / "odd.info", [lone])
    return {
        "size": (given.network, odd, "x.onnx"),
        "nan": (given.network, odd, "x.onnx"),
        "missing": (given.network, odd, "x.onnx"),
        "no info": (given.network, tmp_path / "none.info", "x.onnx"),
        "two inputs": (models.save_two_inputs(tmp_path / "two.onnx"), info, "x.onnx"),
        "onto itself": (given.network, info, given.network),
        "no folder": (given.network, info, "nowhere/x.onnx"),
        "no model": (info, info, "x.onnx"),
    }[case]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("size", r"lone.bin has 17 bytes where the model takes 49,152 (3x64x64, float32)"),
        ("nan", "lone.bin holds NaN or infinity"),
        ("missing", "lone.bin: no such file"),
        ("no info", "none.info"),
        ("two inputs", "has 2 inputs (a, b)"),
        ("onto itself", "is the fp32 model itself"),
        ("no folder", "nowhere: no such folder"),
        ("no model", "neither ONNX nor OpenVINO IR"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: str, said: str, given: Given, tmp_path: Path
) -> None:
    before = given.network.read_bytes()
    run = quantize_py(tmp_path, *broken(case, given, tmp_path), "--no-judge")
    assert run.returncode == 1
    assert said in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert run.stdout == ""
    assert not (tmp_path / "x.onnx").exists()
    assert given.network.read_bytes() == before


def test_an_int8_model_is_not_quantised_again(
    given: Given, made: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = quantize_py(tmp_path, made[0], given.pictures.info, "x.onnx")
    assert run.returncode == 1
    assert "is quantised already; give the fp32 model" in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--images", "31"),
        ("--max-drop", "nan"),
        ("--max-drop", "-1"),
        ("--no-judge", "--labels", "x"),
        ("--no-judge", "--max-drop", "2"),
        ("--no-judge", "--threads", "1"),
        ("--method", "max"),
        ("--engine", "slide-rule"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    run = quantize_py(tmp_path, "a", "b", "c", *arguments)
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1


def test_a_float_model_gets_one_picture_and_a_fixed_batch_full_ones(
    given: Given, tmp_path: Path
) -> None:
    model = quantize.inspect(convnets.save_network(tmp_path / "n.onnx", batch=7))
    assert (model.batch, quantize.inspect(given.network).batch) == (7, None)
    chosen = prepared.select(
        [Line(str(file)) for file in sorted(given.pictures.folder.iterdir())[:40]],  # type: ignore[misc]
        model.layout,
        40,
    )
    seen: Counter[bytes] = Counter()
    reader = quantize._Reader(model, chosen.pictures, lambda done: None)
    assert len(reader) == 6
    for start in range(len(reader)):
        reader.set_range(start, start + 1)
        batch = reader.get_next()
        assert batch is not None
        assert batch["image"].shape == (7, 3, 64, 64)
        assert reader.get_next() is None
        seen.update(row.tobytes() for row in batch["image"])
    assert len(seen) == 40


@dataclass(frozen=True)
class Line:
    """As much of a line of an info file as the selection looks at."""

    path: str


def test_reduced_range_is_for_x86_without_vnni_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(quantize, "CPU_INFO", info)
    for machine, flags, wanted in (
        ("x86_64", "avx2 avx512f avx512_vnni", False),
        ("x86_64", "avx2 avx_vnni", False),
        ("x86_64", "avx2 avx512f", True),
        ("aarch64", "asimd", False),
    ):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        info.write_text(f"flags : {flags}\n")
        assert quantize.needs_reduced_range() is wanted


def test_seven_bits_are_used_when_asked_for(given: Given, tmp_path: Path) -> None:
    info = subset(given, tmp_path, 0, 40)
    most = {}
    for when in ("yes", "no"):
        run = quantize_py(
            tmp_path, given.network, info, "x.onnx", "--no-judge", "--reduce-range", when
        )
        assert run.returncode == 0, run.stderr
        most[when] = max(
            int(np.abs(numpy_helper.to_array(tensor).astype(int)).max())
            for tensor in onnx.load_model(tmp_path / "x.onnx").graph.initializer
            if tensor.name.startswith("w") and tensor.name.endswith("_quantized")
        )
        content = json.loads(record.path_of(tmp_path / "x.onnx").read_text())
        assert content["settings"]["reduce_range"] == (when == "yes")
    assert most["yes"] <= 64 < most["no"]
