"""The engine for an om, on the stand-ins of ais_bench in both generations."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.engines import ascend_device
from pipeline.engines.device_process import Arena
from pipeline.formats import perf
from tests import cards, models, standins
from tests.standins import case

GENERATIONS = pytest.mark.parametrize("generation", ["23", "25"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("an om")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cards.fill((1, 4))
        models.save_classifier(Path("x.onnx"), size=32, classes=10, extra_outputs=True)
        assert case.convert(cards.EXACT, model="x") == 0
        Path("aipp.cfg").write_text(f"{case.AIPP}}}\n")
        shutil.copy("m.onnx", "a.onnx")
        assert case.convert(cards.EXACT, "--insert_op_conf=aipp.cfg", model="a") == 0
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder of this test's own, with the case in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def dumped(number: int, dtype: str = "float32") -> NDArray[Any]:
    folder = Path("result/dumpOutput_device0")
    files = [folder / f"im_{n}_{number}.bin" for n in range(case.IMAGES)]
    return np.stack([np.fromfile(file, dtype) for file in files])


@GENERATIONS
def test_every_output_is_what_the_reference_gives(generation: str, place: Path) -> None:
    done = cards.benchmark(om_path="x_bs4.om", output_binary="true", STANDIN_AIS=generation)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("OK: 10 of 10 samples")
    assert "stand-in" not in done.stdout + done.stderr
    scores, top, fields = models.expected(Path("x.onnx"), case.pictures())
    np.testing.assert_allclose(dumped(1), scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(dumped(2, "int64"), top)
    np.testing.assert_allclose(dumped(3), fields.reshape(10, -1), rtol=1e-4, atol=1e-4)


def test_the_same_top_n_by_every_way_through_the_same_pictures(place: Path) -> None:
    found = {}
    done = cards.benchmark(om_path="m.onnx", device_id=1)
    assert done.returncode == 0, done.stderr
    found["our runner, ONNX"] = cards.tops("result/dumpOutput_device1")
    assert cards.benchmark(device_id=2).returncode == 0
    found["our runner, om"] = cards.tops("result/dumpOutput_device2")
    assert cards.run("benchmark.x86_64", *cards.flags()).returncode == 0
    found["the tool"] = cards.tops("result/dumpOutput_device0")
    words = (sys.executable, "-m", "ais_bench", "--model=m_bs4.om", "--input=float")
    assert cards.run(*words, "--output=out").returncode == 0
    found["ais_bench"] = cards.tops("out")
    done = cards.benchmark(om_path="a_bs4.om", input_text_path="uint8.info", device_id=3)
    assert done.returncode == 0, done.stderr
    found["our runner, uint8 and AIPP"] = cards.tops("result/dumpOutput_device3")
    assert found == dict.fromkeys(found, cards.expected())


@GENERATIONS
def test_the_interface_rate_counts_the_execution_alone(generation: str, place: Path) -> None:
    done = cards.benchmark(STANDIN_AIS=generation)
    assert done.returncode == 0, done.stderr
    text = Path("result/perf_vision_batchsize_4_device_0.txt").read_text()
    figures = perf.from_text(text)
    assert isinstance(figures, perf.DatasetPerf)
    # A call of the interface has the execution in it, and copies besides.
    assert 1000 / figures.interface_rate <= figures.infer_latency_ms
    assert figures.e2e_rate < figures.interface_rate


def test_the_record_says_on_what_the_model_ran(place: Path) -> None:
    assert cards.benchmark(om_path="m_bs1.om", batch_size=1, device_id=3).returncode == 0
    details = cards.made("result/dumpOutput_device3")["details"]
    assert (details["engine"], details["effective_precision"]) == ("ascend", "as converted")
    assert details["engine_version"] == "0.0.2, aclruntime 0.0.2"
    assert details["devices"] == [3]
    report = cards.stage("perf_report.py", "result/perf_vision_batchsize_1_device_3.txt")
    assert "card rate = Interface rate x 4" in report.stdout


@GENERATIONS
def test_pure_inference_runs_rounds_on_the_device(generation: str, place: Path) -> None:
    words = ("-om_path=m_bs4.om", "-round=5", "-batch_size=4", "-device_id=2")
    done = cards.stage("benchmark.py", *words, STANDIN_AIS=generation)
    assert done.returncode == 0, done.stderr
    text = Path("result/PureInfer_perf_of_m_bs4_in_device_2.txt").read_text()
    assert isinstance(perf.from_text(text), perf.PurePerf)


def test_the_model_may_be_a_link_and_its_folder_have_any_name(place: Path) -> None:
    Path("a b").mkdir()
    Path("a b/linked.om").symlink_to(place / "m_bs4.om")
    rules = {"STANDIN_PATH_RULES": "1"}
    Path("m_bs4.om").chmod(0o640)
    assert cards.benchmark(om_path="a b/linked.om", **rules).returncode == 0
    shutil.copy("m_bs4.om", "a b/named.om")
    done = cards.benchmark(om_path="a b/named.om", **rules)
    assert done.returncode == 1
    assert "ais_bench takes a model whose path has only letters" in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 2}, "its batch is fixed to 4, and -batch_size is 2"),
        ({"precision": "bf16"}, "m_bs4.om has the precision that it was converted with"),
        ({"precision": "int8"}, "m_bs4.om has the precision that it was converted with"),
        ({"threads": 2}, "-threads has no meaning for m_bs4.om"),
        ({"engine": "openvino"}, "does not run a model of the kind om"),
        ({"om_path": "m.onnx", "engine": "ascend"}, "does not run a model of the kind ONNX"),
        ({"om_path": "m.onnx", "device_id": "0,1"}, "runs m.onnx on the processor"),
        ({"input_text_path": "./uint8.info"}, "these look like uint8 pixels"),
        ({"input_width": 24}, "-input_width is 24"),
        ({"device_id": 7}, "acl open device 7 failed"),
        ({"fault": "no_driver"}, "507033"),
        ({"fault": "device_busy:0"}, "device 0 does not take m_bs4.om"),
        ({"fault": "batch_mismatch"}, "needsize:98304 not match"),
        ({"fault": "device_killed"}, "device 0 failed: its process was killed by SIGKILL"),
        ({"fault": "device_dies:0/20"}, "device 0 is lost, ret=507899"),
        ({"STANDIN_CHIP": "310P3"}, "--soc"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_and_leaves_nothing(
    changes: dict[str, Any], said: str, place: Path
) -> None:
    done = cards.benchmark(**changes)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if " has no record, so " not in line]
    assert len(lines) == 1
    assert said in lines[0]
    if "fault" not in changes:
        assert not Path("result/dumpOutput_device0").exists()


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ("raise ImportError('libascendcl.so: cannot open shared object file')", "libascendcl.so"),
        ("class InferSession: pass", "InferSession() takes no arguments"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os; os.abort()", "killed by SIGABRT"),
    ],
)
def test_packages_that_do_not_work_are_told_from_a_card_that_does_not(
    interface: str, said: str, place: Path
) -> None:
    Path("broken/ais_bench/infer").mkdir(parents=True)
    for name in ("__init__", "infer/__init__"):
        Path(f"broken/ais_bench/{name}.py").touch()
    Path("broken/ais_bench/infer/interface.py").write_text(interface)
    done = subprocess.run(
        [sys.executable, str(cards.PROJECT / "benchmark.py"), *cards.flags()],
        env={**os.environ, "PYTHONPATH": "broken"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert said in done.stderr


def test_without_the_package_the_line_says_what_to_install(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(cards.PROJECT / "benchmark.py"), *cards.flags()],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No module named 'ais_bench'" in done.stderr
    assert "source CANN's set_env.sh and install both wheels" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_of_a_device_outlives_its_parent(number: int, place: Path) -> None:
    models.save_slow(Path("slow.onnx"))
    assert case.convert(cards.EXACT, model="slow") == 0
    command = [sys.executable, str(cards.PROJECT / "benchmark.py"), "-om_path=slow_bs4.om"]
    running = subprocess.Popen(
        [*command, "-round=1000", "-batch_size=4"],
        env=standins.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    helpers: list[int] = []
    deadline = time.monotonic() + 60
    while not helpers and time.monotonic() < deadline:
        time.sleep(0.2)
        helpers = _children(running.pid)
    time.sleep(1)
    helpers = _children(running.pid)
    running.send_signal(number)
    code = running.wait(30)
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
    while any(map(_lives, helpers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert helpers
    assert not any(map(_lives, helpers))


def _children(process: int) -> list[int]:
    try:
        words = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except FileNotFoundError:
        words = []
    found = list(map(int, words))
    if not found:
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                after = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if after[1] == str(process):
                found.append(int(status.parent.name))
    return found


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ([2.5], 2_500_000),
        ([1.0, 1.5], 2_500_000),
        ([(1_700_000_000_000.0, 1_700_000_000_002.5)], 2_500_000),
        ([np.float32(2.5)], 2_500_000),
        ([], 9_000_000),  # the interface gives none
        ([0.0], 9_000_000),
        ([float("nan")], 9_000_000),
        ([-3.0], 9_000_000),  # a clock that was set back
        ([131072.0], 9_000_000),  # a wall clock in floats of 32 bits
    ],
)
def test_the_time_of_execution_is_taken_in_both_forms_or_not_at_all(
    times: Sequence[Any], found: int
) -> None:
    assert ascend_device.executed_ns(times, 9_000_000) == pytest.approx(found, abs=500)


def test_an_arena_has_zeros_in_places_of_their_own_that_another_mapping_sees() -> None:
    arena = Arena()
    one, two = (arena.new((3, 5), np.dtype(np.float32)) for _ in range(2))
    assert not one.any()
    one[:], two[:] = 1, 2
    shared = ascend_device._Shared(arena.file)
    for array in (one, two):
        place = arena.place(array)
        assert place is not None
        feed = ascend_device.Feed(place, array.shape, array.dtype.str)
        np.testing.assert_array_equal(shared.array(feed), array)
    assert arena.place(one.copy()) is None
    arena.close()
