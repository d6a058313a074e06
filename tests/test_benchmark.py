"""The benchmark tool's twin, as a user runs it: flags, files, figures, faults."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import benchmark
from cli import door
from pipeline import progress, record, speeds
from pipeline.formats import perf
from tests import images, models

PROJECT = Path(__file__).resolve().parent.parent
COUNT = 10
SIZE = 32

Enter = Callable[..., tuple[int, str, str]]


@pytest.fixture
def enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Enter:
    """Return a function that runs the command in `tmp_path`: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "_silent", False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = door.enter(benchmark.build_parser(), benchmark.call, arguments)
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def write_data(folder: Path, count: int = COUNT, size: int = SIZE) -> NDArray[np.float32]:
    """Write `prep/img<i>.bin` and `data.info` into `folder`; return the tensors."""
    values = np.random.default_rng(1).random((count, 3, size, size), dtype=np.float32)
    (folder / "prep").mkdir()
    lines = []
    for i, value in enumerate(values):
        value.tofile(folder / f"prep/img{i}.bin")
        lines.append(f"{i} ./prep/img{i}.bin {size} {size}\n")
    (folder / "data.info").write_text("".join(lines))
    return values


@pytest.fixture
def data(tmp_path: Path) -> NDArray[np.float32]:
    models.save_classifier(tmp_path / "m.onnx", size=SIZE, extra_outputs=True)
    return write_data(tmp_path)


def dataset_flags(**changes: str) -> list[str]:
    flags = {
        "model_type": "vision",
        "device_id": "0",
        "batch_size": "4",
        "om_path": "m.onnx",
        "input_text_path": "data.info",
        "input_width": str(SIZE),
        "input_height": str(SIZE),
        "output_binary": "False",
        "useDvpp": "False",
    }
    return [f"-{name}={value}" for name, value in (flags | changes).items()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def status_of(folder: Path, device: int = 0) -> str:
    made = record.load(folder / f"result/dumpOutput_device{device}")
    assert made is not None
    return str(made["status"])


def counts_of(folder: Path, device: int = 0) -> dict[str, int]:
    made = record.load(folder / f"result/dumpOutput_device{device}")
    assert made is not None
    return dict(made["counts"])


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_dumps_equal_the_reference_for_every_sample_and_output(
    engine: str, batch_size: int, enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    flags = dataset_flags(batch_size=str(batch_size), engine=engine, output_binary="True")
    code, out, err = enter(*flags)
    assert (code, out.splitlines()[-1][:20]) == (0, "OK: 10 of 10 samples"), err
    scores, top, fields = models.expected(tmp_path / "m.onnx", data)
    folder = tmp_path / "result/dumpOutput_device0"
    assert len(list(folder.iterdir())) == 3 * COUNT
    for i in range(COUNT):
        dumped = np.fromfile(folder / f"img{i}_1.bin", np.float32)
        np.testing.assert_allclose(dumped, scores[i], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(np.fromfile(folder / f"img{i}_2.bin", np.int64), top[i])
        dumped = np.fromfile(folder / f"img{i}_3.bin", np.float32)
        np.testing.assert_allclose(dumped, fields[i].ravel(), rtol=1e-4, atol=1e-4)


def test_text_binary_and_array_hold_the_same_values(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    result = tmp_path / "result"
    assert enter(*dataset_flags())[0] == 0
    assert enter(*dataset_flags(device_id="1", output_binary="true"))[0] == 0
    assert enter(*dataset_flags(device_id="2", dump="npy"))[0] == 0
    arrays = [np.load(result / f"dumpOutput_device2/results_{k}.npy") for k in (1, 2, 3)]
    names = (result / "dumpOutput_device2/results.names").read_text().splitlines()
    assert names == [f"img{i}" for i in range(COUNT)]
    for i, name in enumerate(names):
        for k, dtype in ((1, np.float32), (2, np.int64), (3, np.float32)):
            text = (result / f"dumpOutput_device0/{name}_{k}.txt").read_text()
            raw = np.fromfile(result / f"dumpOutput_device1/{name}_{k}.bin", dtype)
            np.testing.assert_array_equal(np.array(text.split(), dtype), raw)
            np.testing.assert_array_equal(arrays[k - 1][i].ravel(), raw)


def test_the_output_tree_is_the_tools(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    code, out, _ = enter(*dataset_flags(device_id="3"))
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "result").iterdir()) == [
        "dumpOutput_device3",
        "dumpOutput_device3.record.json",
        "perf_vision_batchsize_4_device_3.txt",
        "perf_vision_batchsize_4_device_3.txt.record.json",
    ]
    text = (tmp_path / "result/perf_vision_batchsize_4_device_3.txt").read_text()
    figures = perf.from_text(text)
    assert isinstance(figures, perf.DatasetPerf)
    assert figures.e2e_rate * figures.e2e_latency_ms / 1000 == pytest.approx(COUNT, rel=1e-4)
    assert figures.infer_rate > 0
    assert figures.interface_rate > 0
    assert text.rstrip() in out
    assert re.search(r"engine openvino \S+, precision fp32, threads \d+, requests \d+", out)


def test_the_record_says_what_ran_and_how(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    assert enter(*dataset_flags(engine="onnxruntime", threads="1", warmup="2"))[0] == 0
    made = record.load(tmp_path / "result/dumpOutput_device0")
    assert made is not None
    assert made["status"] == "complete"
    assert made["counts"] == {
        "samples": 10,
        "dumped": 10,
        "not_done": 0,
        "kept": 0,
        "timed": 10,
        "outputs_per_sample": 3,
        "batches": 3,
    }
    details = made["details"]
    assert details["resumed"] is False
    assert details["engine"] == "onnxruntime"
    assert (details["effective_precision"], details["threads"]) == ("fp32", 1)
    assert (details["requests"], details["warmup_inferences"]) == (1, 2)
    assert details["first_inference_ms"] > 0
    assert details["load_s"] > 0
    assert len(details["latencies_us"]) == 3
    assert details["inputs_verified"] is False
    assert [Path(entry["path"]).name for entry in made["inputs"]] == ["m.onnx", "data.info", "prep"]
    assert record.is_current(tmp_path / "result/dumpOutput_device0", made["command"])
    os.utime(tmp_path / "prep/img3.bin", (1, 1))
    assert not record.is_current(tmp_path / "result/dumpOutput_device0", made["command"])


@pytest.mark.parametrize(
    "form",
    [
        lambda name, value: [f"-{name}={value}"],
        lambda name, value: [f"--{name}={value}"],
        lambda name, value: [f"-{name}", value],
        lambda name, value: [f"--{name}", value],
    ],
)
def test_flags_take_one_dash_or_two_and_an_equals_sign_or_none(
    form: Callable[[str, str], list[str]],
) -> None:
    given = {
        "om_path": "a b.om",
        "input_text_path": "x=y.info",
        "useDvpp": "tRUE",
        "device_id": "7",
    }
    args = benchmark.build_parser().parse([w for item in given.items() for w in form(*item)])
    assert (args.om_path, args.input_text_path) == (Path("a b.om"), Path("x=y.info"))
    assert (args.useDvpp, args.device_id, args.output_binary) == (True, (7,), False)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-om_path=m"], "give -input_text_path=FILE.info for a data set, or -round=N"),
        (["-input_text_path=i"], "required: -om_path"),
        (["-om_path=m", "-batch=4"], "unknown argument: --batch=4 (did you mean --batch_size?)"),
        (["-om_path=m", "-output_bin", "true"], "did you mean --output_binary?"),
        (["-om_path=m", "-round=2", "-input_text_path=i"], "-input_text_path has no meaning"),
        (["-om_path=m", "-round=2", "-useDvpp=True"], "-useDvpp has no meaning"),
        (["-om_path=m", "-round=2", "-output_binary=True"], "-output_binary has no meaning"),
        (["-om_path=m", "-round=2", "-force"], "-force has no meaning together with -round"),
        (["-om_path=m", "-round=2", "-model_type=nlp"], "nlp is known but not supported"),
        (["-om_path=", "-round=2"], "the name is empty"),
        (["-om_path=~/m.onnx", "-round=2"], "write $HOME/m.onnx"),
        (["-om_path=m", "-round=2", "-threads=1025"], "1025 is not a whole number from 1 to 1024"),
        (["-om_path=m", "-round=1025"], "1025 is not a whole number from 1 to 1024"),
        (["-om_path=m", "-model_type=bert", "-input_text_path=i"], "bert is known but not support"),
        (["-om_path=m", "-model_type=visoin"], "did you mean vision?"),
        (["-om_path=m", "-useDvpp=perhaps"], "'perhaps' is not one of true, false"),
        (["-om_path=m", "-engine=openvine"], "did you mean openvino?"),
        (["-om_path=m", "-precision=fp64"], "'fp64' is not one of fp32"),
        (["-om_path=m", "-batch_size=0"], "0 is not a whole number from 1 to 65536"),
        (["-om_path=m", "-input_imgFiles_path=d"], "list the images with get_info.py jpg"),
        (["-om_path=m", "-input_text_path=i", "-dump=npy", "-output_binary=true"], "-dump=npy"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(
    flags: list[str], said: str, enter: Enter
) -> None:
    code, _, err = enter(*flags)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def break_nothing(folder: Path) -> None:
    """Leave all files as they are."""


def remove_two(folder: Path) -> None:
    (folder / "prep/img3.bin").unlink()
    (folder / "prep/img5.bin").unlink()


def shorten(folder: Path) -> None:
    (folder / "prep/img3.bin").write_bytes(b"short")


def list_twice(folder: Path) -> None:
    with (folder / "data.info").open("a") as file:
        file.write("10 ./prep/../prep/img3.bin 32 32\n")


def list_folder(folder: Path) -> None:
    (folder / "prep/img3.bin").unlink()
    (folder / "prep/img3.bin").mkdir()


def list_image(folder: Path) -> None:
    with (folder / "data.info").open("a") as file:
        file.write("10 ./prep/cat.JPEG 32 32\n")


def empty_info(folder: Path) -> None:
    (folder / "data.info").write_text("")


def as_uint8(folder: Path) -> None:
    for path in (folder / "prep").iterdir():
        path.write_bytes(bytes(3 * SIZE * SIZE))


def model_without_batch(folder: Path) -> None:
    models.save_without_batch_in_output(folder / "m.onnx")
    for path in (folder / "prep").iterdir():
        path.write_bytes(bytes(4 * 3 * 8 * 8))


def half_made(folder: Path) -> None:
    content = {"schema": record.SCHEMA, "status": "running"}
    (folder / "prep.record.json").write_text(json.dumps(content))


def made_as_uint8(folder: Path) -> None:
    settings = {"dtype": "uint8", "shape": [SIZE, SIZE, 3]}
    content = {"schema": record.SCHEMA, "status": "complete", "settings": settings, "outputs": []}
    (folder / "prep.record.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "changes", "said"),
    [
        (break_nothing, {"om_path": "no.onnx"}, "no.onnx does not exist"),
        (break_nothing, {"input_text_path": "no.info"}, "no.info"),
        (break_nothing, {"input_width": "299"}, "-input_width is 299, .* has the width 32"),
        (break_nothing, {"input_height": "33"}, "-input_height is 33, .* has the height 32"),
        (break_nothing, {"om_path": "data.info"}, "neither ONNX nor OpenVINO IR"),
        (break_nothing, {"useDvpp": "true"}, "lists a tensor .*img0.bin.*-useDvpp=false"),
        (remove_two, {}, r"img3.bin, which does not exist \(and 1 more files\)"),
        (shorten, {}, "img3.bin has 5 bytes, and the model takes 12288 per sample"),
        (as_uint8, {}, r"img0.bin has 3072 bytes \(and 9 more files\).*look like uint8 pixels"),
        (list_twice, {}, "would write the same result, img3_1"),
        (list_folder, {}, "img3.bin, which is not a file"),
        (list_image, {}, "lists an image .*cat.JPEG.*-useDvpp=true"),
        (empty_info, {}, "data.info lists no"),
        (model_without_batch, {"input_width": "8", "input_height": "8"}, "cannot be split by samp"),
        (half_made, {}, "prep is not whole: its record says running"),
        (made_as_uint8, {}, "prep was made with the dtype uint8, and the model takes float32"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_old_results_as_they_were(
    spoil: Callable[[Path], None],
    changes: dict[str, str],
    said: str,
    enter: Enter,
    data: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    assert enter(*dataset_flags())[0] == 0
    before = contents(tmp_path / "result")
    spoil(tmp_path)
    code, out, err = enter(*dataset_flags(**changes), "-q")
    assert (code, out) == (1, "")
    assert re.search(said, err), err
    assert err.count("\n") == 1
    assert contents(tmp_path / "result") == before


def test_a_model_of_another_fixed_batch_is_refused(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    models.save_classifier(tmp_path / "bs1.om", size=SIZE, batch=1)
    code, _, err = enter(*dataset_flags(om_path="bs1.om", batch_size="16"))
    assert code == 1
    assert "batch is fixed to 1, and -batch_size is 16; give -batch_size=1" in err
    assert enter(*dataset_flags(om_path="bs1.om", batch_size="1"))[0] == 0


def test_inputs_that_would_be_removed_as_old_results_are_refused(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    folder = tmp_path / "result/dumpOutput_device0"
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "prep/img0.bin", folder / "img_1.bin")
    (tmp_path / "data.info").write_text("0 result/dumpOutput_device0/img_1.bin 32 32\n")
    code, _, err = enter(*dataset_flags())
    assert code == 1
    assert "where the results go" in err
    assert (folder / "img_1.bin").exists()


def keep_record(stage: str, output: Path, *inputs: Path, **settings: object) -> None:
    with record.keeping(record.Run(stage, inputs, [output], settings)):
        pass


def test_good_records_of_all_inputs_verify_them(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    keep_record("export", tmp_path / "m.onnx")
    keep_record("preprocess", tmp_path / "prep", dtype="float32", shape=[3, SIZE, SIZE])
    keep_record("get_info", tmp_path / "data.info", tmp_path / "prep")
    _, out, err = enter(*dataset_flags())
    assert "unverified" not in out
    assert err == ""
    made = record.load(tmp_path / "result/dumpOutput_device0")
    assert made is not None
    assert made["details"]["inputs_verified"] is True
    assert made["details"]["chain"]["info"]["verified"] is True
    record.path_of(tmp_path / "m.onnx").unlink()
    _, out, _ = enter(*dataset_flags())
    assert "inputs unverified (m.onnx has no record)" in out
    (tmp_path / "prep/more.bin").write_bytes(b"")
    code, out, err = enter(*dataset_flags())
    assert (code, out) == (1, "")
    assert "prep is not what its record says" in err


def test_results_of_an_earlier_run_go_and_other_files_stay(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    folder = tmp_path / "result/dumpOutput_device0"
    folder.mkdir(parents=True)
    (folder / "other_1.txt").write_text("1 2 3 \n")
    (folder / "notes.txt").write_text("mine")
    for form in ({"output_binary": "true"}, {"dump": "npy"}, {"dump": "files"}):
        assert enter(*dataset_flags(**form))[0] == 0
    names = {f"img{i}_{k}.txt" for i in range(COUNT) for k in (1, 2, 3)}
    assert {path.name for path in folder.iterdir()} == names | {"notes.txt"}


def test_figures_outlive_the_next_batch_size_on_the_same_device(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    for batch_size in ("1", "4"):
        assert enter(*dataset_flags(batch_size=batch_size))[0] == 0
    for row in speeds.read_all(sorted((tmp_path / "result").glob("perf_*")), None):
        assert (row.chips, row.card_rate) == (1, row.interface_rate), "no 310 card was measured"


def in_the_way_of_results(folder: Path) -> None:
    (folder / "result").write_text("mine")


def in_the_way_of_dumps(folder: Path) -> None:
    (folder / "result").mkdir()
    (folder / "result/dumpOutput_device0").write_text("mine")


def in_the_way_of_figures(folder: Path) -> None:
    (folder / "result/perf_vision_batchsize_4_device_0.txt").mkdir(parents=True)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (in_the_way_of_results, "result is no folder"),
        (in_the_way_of_dumps, "result/dumpOutput_device0 is no folder"),
        (in_the_way_of_figures, "result/perf_vision_batchsize_4_device_0.txt is a folder"),
    ],
)
def test_what_lies_where_results_go_is_named_and_stays(
    block: Callable[[Path], None],
    said: str,
    enter: Enter,
    data: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    block(tmp_path)
    before = contents(tmp_path)
    code, out, err = enter(*dataset_flags(), "-q")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err
    assert contents(tmp_path) == before


def test_a_run_that_fails_midway_says_so_in_its_record(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    assert enter(*dataset_flags())[0] == 0
    blocked = tmp_path / "result/dumpOutput_device0/img6_1.txt"
    blocked.unlink()
    blocked.mkdir()
    code, out, err = enter(*dataset_flags())
    assert (code, out) == (1, "")
    assert "img6_1.txt" in err
    assert status_of(tmp_path) == "failed"
    assert not (tmp_path / "result/perf_vision_batchsize_4_device_0.txt").exists()
    blocked.rmdir()
    assert enter(*dataset_flags())[0] == 0
    assert status_of(tmp_path) == "complete"


def test_pure_inference_writes_its_line_and_prints_its_summary(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    code, out, _ = enter("-round=5", "-om_path=m.onnx", "-device_id=2", "-batch_size=3")
    assert code == 0
    saved = "result/PureInfer_perf_of_m_in_device_2.txt"
    text = (tmp_path / saved).read_text()
    assert re.fullmatch(r"ave_throughputRate = \S+samples/s, ave_latency = \S+ms\n", text)
    figures = perf.from_text(text)
    assert isinstance(figures, perf.PurePerf)
    assert figures.rate * figures.latency_ms / 1000 >= 1 - 1e-4
    lines = out.splitlines()
    assert [line for line in lines if "Dataset number" in line][-1].startswith(
        "[INFO] Dataset number: 4 finished cost "
    )
    assert f"[INFO] PureInfer result saved in ./{saved}" in lines
    rate, latency = re.findall(r"= (\S+)", text)
    assert f"[INFO] ave_throughputRate: {rate} ave_latency: {latency}" in lines
    assert "requests 1," in out
    made = record.load(tmp_path / saved)
    assert made is not None
    assert len(made["details"]["latencies_us"]) == 5


def test_a_uint8_model_takes_pixels(enter: Enter, tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=SIZE, dtype="uint8", classes=10)
    (tmp_path / "prep").mkdir()
    pixels = np.random.default_rng(2).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        picture.tofile(tmp_path / f"prep/{i}.bin")
    info = "".join(f"{i} prep/{i}.bin {SIZE} {SIZE}\n" for i in range(3))
    (tmp_path / "data.info").write_text(info)
    assert enter(*dataset_flags(batch_size="2", output_binary="true"))[0] == 0
    wanted = models.expected(model, pixels)[0]
    for i in range(3):
        got = np.fromfile(tmp_path / f"result/dumpOutput_device0/{i}_1.bin", np.float32)
        np.testing.assert_allclose(got, wanted[i], rtol=1e-4, atol=1e-2)


def write_pictures(folder: Path, count: int) -> list[str]:
    (folder / "a folder").mkdir()
    names = [
        f"a folder/picture.{i} x.JPEG" if i == 0 else f"a folder/p{i}.jpg" for i in range(count)
    ]
    for i, name in enumerate(names):
        picture = images.photo(240 + 30 * i, 300 - 10 * i, seed=i)
        (folder / name).write_bytes(images.jpeg(picture))
    lines = [f"{i} {name} 1 1\n" for i, name in enumerate(names)]
    (folder / "jpg.info").write_text("".join(lines))
    return names


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_images_on_the_fly_give_the_same_bytes_as_through_tensors(
    dtype: str, enter: Enter, tmp_path: Path
) -> None:
    from pipeline.imagenet import transform

    models.save_classifier(tmp_path / "m.onnx", size=224, classes=50, dtype=dtype)
    names = write_pictures(tmp_path, 7)
    (tmp_path / "prep").mkdir()
    lines = []
    make: Any = transform.prepare if dtype == "float32" else transform.prepare_pixels
    for i, name in enumerate(names):
        tensor = f"prep/{Path(name).name.split('.')[0]}.bin"
        make(tmp_path / name).tofile(tmp_path / tensor)
        lines.append(f"{i} {tensor} 224 224\n")
    (tmp_path / "bin.info").write_text("".join(lines))
    same = {"input_width": "224", "input_height": "224", "batch_size": "3"}
    through = dataset_flags(input_text_path="bin.info", **same)
    fly = dataset_flags(input_text_path="jpg.info", useDvpp="TRUE", device_id="1", **same)
    assert enter(*through)[0] == 0
    code, out, err = enter(*fly)
    assert (code, err) == (0, "jpg.info has no record, so it is taken as it is\n")
    assert "OK: 7 of 7 samples" in out
    result = tmp_path / "result"
    assert len(contents(result / "dumpOutput_device0")) == 7
    assert contents(result / "dumpOutput_device1") == contents(result / "dumpOutput_device0")


def test_a_picture_that_cannot_be_decoded_fails_the_run_by_name(
    enter: Enter, tmp_path: Path
) -> None:
    models.save_classifier(tmp_path / "m.onnx", size=224, classes=50)
    names = write_pictures(tmp_path, 5)
    (tmp_path / names[3]).write_bytes(b"\xff\xd8\xff no picture")
    flags = dataset_flags(
        input_text_path="jpg.info", useDvpp="true", input_width="224", input_height="224"
    )
    code, out, err = enter(*flags)
    assert (code, out) == (1, "")
    assert names[3] in err
    assert status_of(tmp_path) == "failed"


def test_images_need_a_model_of_the_transforms_size(
    enter: Enter, data: NDArray[np.float32], tmp_path: Path
) -> None:
    write_pictures(tmp_path, 2)
    code, _, err = enter(*dataset_flags(input_text_path="jpg.info", useDvpp="true"))
    assert code == 1
    assert "must be float32 3x224x224 or uint8 224x224x3, and it is float32 3x32x32" in err


def command(*flags: str) -> list[str]:
    return [sys.executable, str(PROJECT / "benchmark.py"), *flags]


def test_it_runs_through_a_link_of_the_tools_name(
    data: NDArray[np.float32], tmp_path: Path
) -> None:
    (tmp_path / "benchmark.x86_64").symlink_to(PROJECT / "benchmark.py")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "m.onnx").rename(tmp_path / "vovnet39_bs4.om")
    done = subprocess.run(
        ["./benchmark.x86_64", *dataset_flags(om_path="vovnet39_bs4.om")],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "result/dumpOutput_device0").iterdir())) == 3 * COUNT


def no_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))


@pytest.mark.parametrize("form", ["files", "npy"])
def test_a_result_that_cannot_be_written_whole_fails_the_run_by_name(
    form: str, data: NDArray[np.float32], tmp_path: Path
) -> None:
    done = subprocess.run(
        command(*dataset_flags(dump=form), "-q"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=no_room,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"benchmark.py: error: File too large.*: .*(results_1\.npy|img\d_1\.txt); raise the .*\n",
        done.stderr,
    )
    assert status_of(tmp_path) == "failed"
    assert not list(tmp_path.glob("result/*/*npy")), "half an array was left"
    counts = counts_of(tmp_path)
    assert counts["samples"] == counts["dumped"] + counts["not_done"] == COUNT


def start_slow_run(folder: Path) -> subprocess.Popen[str]:
    """Start a run of half a hundred samples and return when a few of them are written."""
    process = subprocess.Popen(
        command(*dataset_flags(batch_size="1")),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    dumps = folder / "result/dumpOutput_device0"
    while not (dumps.is_dir() and len(list(dumps.iterdir())) >= 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return process


def test_a_killed_run_is_no_complete_one_and_the_next_makes_the_same_bytes(tmp_path: Path) -> None:
    models.save_slow(tmp_path / "m.onnx")
    write_data(tmp_path, count=50)
    process = start_slow_run(tmp_path)
    process.kill()
    process.communicate()
    folder = tmp_path / "result/dumpOutput_device0"
    assert len(list(folder.iterdir())) < 50
    assert status_of(tmp_path) == "running"
    for flags in (dataset_flags(batch_size="1"), dataset_flags(batch_size="1", device_id="1")):
        done = subprocess.run(command(*flags), cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert status_of(tmp_path) == "complete"
    assert len(contents(folder)) == 50
    assert contents(folder) == contents(tmp_path / "result/dumpOutput_device1")


def test_an_interrupt_ends_the_run_with_130_and_a_failed_record(tmp_path: Path) -> None:
    models.save_slow(tmp_path / "m.onnx")
    write_data(tmp_path, count=50)
    process = start_slow_run(tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "OK" not in out
    assert status_of(tmp_path) == "failed"
    assert len(list((tmp_path / "result/dumpOutput_device0").iterdir())) < 50
