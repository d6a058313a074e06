"""What Huawei's tool, ais_bench and msame leave is scored as it is, and put into the table."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.formats import ais_summary, dump
from tests import cards
from tests.standins import case

AIS = ("-m", "ais_bench", "--model=m_bs4.om", "--input=float", "--output=out")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cards.fill()
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder of this test's own, with the case in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def ais(*words: str, **variables: str) -> None:
    done = cards.run(sys.executable, *AIS, *words, **variables)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tools_own_folder_in_both_forms(place: Path) -> None:
    for binary in ("true", "false"):
        done = cards.run("benchmark.x86_64", *cards.flags(output_binary=binary))
        assert done.returncode == 0, done.stderr
        assert cards.tops("result/dumpOutput_device0") == cards.expected()
        shutil.rmtree("result")


@pytest.mark.parametrize("form", ["BIN", "NPY", "TXT"])
def test_ais_bench_with_its_summary_inside_or_beside(form: str, place: Path) -> None:
    ais("--output_dirname=d", f"--outfmt={form}", STANDIN_SUMMARY="inside")
    assert Path("out/d/sumary.json").exists()
    assert cards.tops("out/d") == cards.expected()
    ais("--output_dirname=e", f"--outfmt={form}", STANDIN_AIS="23")
    assert cards.tops("out/e") == cards.expected()


def test_the_folder_around_one_run_with_its_time_for_a_name_stands_for_it(place: Path) -> None:
    ais()
    assert cards.tops("out") == cards.expected()
    ais("--output_dirname=another")
    done = cards.stage("vision_metric_ImageNet.py", "out", "labels.txt", "./", "r.json")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "out holds the results of 2 runs" in done.stderr


@pytest.mark.parametrize(("generation", "more"), [("23", ()), ("25", ("--divide_input=1",))])
def test_the_folders_of_several_devices_are_one_set(
    generation: str, more: tuple[str, ...], place: Path
) -> None:
    ais("--output_dirname=d", "--device=0,1,2,3", *more, STANDIN_AIS=generation)
    assert len([p for p in Path("out/d").iterdir() if p.is_dir()]) == 4
    assert cards.tops("out/d") == cards.expected()
    assert cards.tops("out") == cards.expected()
    inside = min(Path("out/d").glob("device*/"))
    few = len(list(inside.glob("*.bin")))
    done = cards.stage("vision_metric_ImageNet.py", str(inside), "labels.txt", "./", "r.json")
    assert done.returncode == 1
    assert f"holds the results of {few} images where labels.txt has 10" in done.stderr


def test_one_image_on_two_devices_is_refused(place: Path) -> None:
    ais("--output_dirname=d", "--device=0,1")
    done = cards.stage("vision_metric_ImageNet.py", "out/d", "labels.txt", "./", "r.json")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "device0_0/im_0_0.bin and device1_1/im_0_0.bin are of one image" in done.stderr
    assert cards.tops("out/d/device1_1") == cards.expected()


@pytest.mark.parametrize("fault", ["partial:3", "killed_after:3"])
def test_a_partial_folder_is_no_result(fault: str, place: Path) -> None:
    cards.run(sys.executable, *AIS, "--output_dirname=d", STANDIN_FAULT=fault)
    done = cards.stage("vision_metric_ImageNet.py", "out/d", "labels.txt", "./", "r.json")
    assert done.returncode == 1
    assert "holds the results of 3 images where labels.txt has 10" in done.stderr
    assert not Path("r.json").exists()


def test_the_share_of_a_device_that_died_is_missed(place: Path) -> None:
    words = [sys.executable, *AIS, "--output_dirname=d", "--device=0,1,2", "--divide_input=1"]
    assert cards.run(*words, STANDIN_FAULT="device_dies:1/0").returncode == 1
    done = cards.stage("vision_metric_ImageNet.py", "out/d", "labels.txt", "./", "r.json")
    assert done.returncode == 1
    assert "images where labels.txt has 10: im_" in done.stderr


def test_scores_of_msame_in_several_rows_and_with_its_names(place: Path) -> None:
    Path("msame").mkdir()
    for n, row in enumerate(cards.scores()):
        lines = ["".join(f"{value:g} " for value in part) for part in row.reshape(2, 5)]
        Path(f"msame/im_{n}_output_0.txt").write_text("\n".join(lines) + "\n")
    assert cards.tops("msame") == cards.expected()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x93NUMPY"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: np.save(path, np.array(["text"])),
        lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
    ],
)
def test_a_damaged_array_of_a_sample_is_named(damage: Callable[[Path], None], place: Path) -> None:
    ais("--output_dirname=d", "--outfmt=NPY")
    damage(Path("out/d/im_5_0.npy"))
    done = cards.stage("vision_metric_ImageNet.py", "out/d", "labels.txt", "./", "r.json")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "out/d/im_5_0.npy is no dump" in done.stderr


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_samples_give_their_values_in_order(order: str, tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", np.asarray(values, order=order))  # type: ignore[call-overload]
    found = dump.from_npy((tmp_path / "a.npy").read_bytes())
    assert found.dtype == np.dtype(np.float32)
    assert found.tolist() == list(range(24))


@pytest.mark.parametrize("generation", ["23", "25"])
def test_summaries_stand_in_the_table_beside_perf_files(generation: str, place: Path) -> None:
    ais("--output_dirname=d", "--device=2", STANDIN_AIS=generation)
    cards.run("benchmark.x86_64", *cards.flags())
    files = ["out/d_summary.json", "result/perf_vision_batchsize_4_device_0.txt"]
    done = cards.stage("perf_report.py", *files, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    ours = next(row for row in rows if row["kind"] == "ais_bench")
    summary = json.loads(Path(files[0]).read_text())
    rate = summary["throughput"]
    assert (ours["batch_size"], ours["device"], ours["model"]) == (4, 2, "m_bs4")
    assert ours["interface_rate_samples_per_s"] == rate
    assert ours["card_rate_samples_per_s"] == rate * 4
    mean = summary["NPU_compute_time"]["mean"]
    assert ours["latency_ms_per_sample"] == pytest.approx(mean / case.BATCH)
    assert ours["e2e_rate_samples_per_s"] is None
    shown = cards.stage("perf_report.py", *files)
    assert "m_bs4 (ais_bench)" in shown.stdout


def test_a_summary_of_pure_inference_says_so_and_a_devices_name_its_device() -> None:
    times = {"NPU_compute_time": {"mean": 2.0}, "throughput": 8000.0}
    text = json.dumps({**times, "args": ["x", "--model", "a/m.om", "-d", "0,3"]})
    found = ais_summary.from_text(text, "device3_1_summary.json")
    assert (found.batch_size, found.device, found.model) == (16, 3, "m")
    assert not found.dataset
    assert ais_summary.from_text(text).device is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no JSON"),
        ("[1]", "no JSON object"),
        ("{}", "no throughput"),
        ('{"throughput": "9"}', "no throughput"),
        ('{"throughput": NaN}', "throughput is nan"),
        ('{"throughput": 1, "NPU_compute_time": []}', "no NPU_compute_time"),
        ('{"throughput": 1, "NPU_compute_time": {"mean": 0}}', "NPU_compute_time is 0"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_summary_is_said_in_a_line(content: str, said: str, tmp_path: Path) -> None:
    from pipeline import speeds

    (tmp_path / "d_summary.json").write_text(content)
    with pytest.raises(PipelineError, match=said):
        speeds.read(tmp_path / "d_summary.json", None)
