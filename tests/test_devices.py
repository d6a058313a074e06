"""Several chips at one data set: each sample once, and what happens where a chip fails."""

from __future__ import annotations

import collections
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import record
from pipeline.engines import CONVERTED, DeviceLost, TensorInfo
from pipeline.formats import perf
from pipeline.runner import devices
from pipeline.runner.flow import Batch, Flow
from pipeline.runner.timing import Call, Measured, Span
from tests import cards, models, standins
from tests.standins import case

REPEAT = 8
SAMPLES = REPEAT * case.IMAGES
FOUR = "0,1,2,3"
DUMPS = Path("result/dumpOutput_device0")
ALL = Path("result/perf_vision_batchsize_1_devices_0_1_2_3.txt")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four devices")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cards.fill((1, 4), repeat=REPEAT)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder of this test's own, with the case in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(device_id: str, *more: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    one: dict[str, Any] = {"om_path": "m_bs1.om", "batch_size": 1, "output_binary": "true"}
    return cards.benchmark(*more, device_id=device_id, **(one | changes))


def dumps(folder: Path = DUMPS) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def figures(path: Path) -> perf.DatasetPerf:
    found = perf.from_text(path.read_text())
    assert isinstance(found, perf.DatasetPerf)
    return found


def chip_file(device: int) -> Path:
    return Path(f"result/perf_vision_batchsize_1_device_{device}.txt")


def test_four_devices_give_each_sample_once_and_one_set_of_results(place: Path) -> None:
    alone = run("0")
    assert alone.returncode == 0, alone.stderr
    expected = dumps()
    assert len(expected) == SAMPLES
    done = run(FOUR)
    assert done.returncode == 0, done.stderr
    assert dumps() == expected
    assert [p.name for p in Path("result").glob("dump*/")] == [DUMPS.name]
    chips = cards.made()["details"]["chips"]
    assert sum(chip["samples"] for chip in chips) == SAMPLES
    assert {chip["device"] for chip in chips} <= {0, 1, 2, 3}
    assert cards.made()["details"]["devices"] == [0, 1, 2, 3]
    rates = [chip["perf"]["interface_rate"] for chip in chips]
    assert figures(ALL).interface_rate == pytest.approx(sum(rates), rel=1e-4)
    for chip in chips:
        own = figures(chip_file(chip["device"]))
        assert own.interface_rate == pytest.approx(chip["perf"]["interface_rate"], rel=1e-4)
        assert own.e2e_rate * own.e2e_latency_ms / 1000 == pytest.approx(chip["samples"], rel=1e-4)
        assert f"device {chip['device']}: {chip['samples']} samples, Interface rate" in done.stdout
    assert f"{len(chips)} of 4 devices together: Interface rate" in done.stdout


def test_the_table_multiplies_a_chip_and_not_a_card(place: Path) -> None:
    assert run(FOUR).returncode == 0
    device = cards.made()["details"]["chips"][0]["device"]
    done = cards.stage("perf_report.py", str(ALL), str(chip_file(device)))
    assert done.returncode == 0, done.stderr
    assert "card rate = Interface rate x 1: the file is of 4 devices together" in done.stdout
    assert "card rate = Interface rate x 4: a 310 card has 4 chips" in done.stdout
    for output in (ALL, chip_file(device)):
        assert record.load(output) is not None


def test_a_killed_device_is_named_its_share_missed_and_made_good_by_the_same_command(
    place: Path,
) -> None:
    done = run(FOUR, "-warmup=0", fault="device_killed:1/1")
    assert done.returncode == 1
    (line,) = [text for text in done.stderr.splitlines() if "error:" in text]
    assert "device 1 failed: its process was killed by SIGKILL" in line
    assert "the same command goes on" in line
    made = cards.made()
    missing = made["details"]["missing"]
    assert made["status"] == "failed"
    assert 0 < len(missing) < SAMPLES / 2
    assert f"{len(missing)} of {SAMPLES} samples are missing" in line
    there = {name.removesuffix("_1.bin") for name in dumps()}
    assert there.isdisjoint(missing)
    assert len(there) + len(missing) == SAMPLES
    assert not ALL.exists()
    scored = cards.stage("vision_metric_ImageNet.py", str(DUMPS), "labels.txt", "./", "r.json")
    assert scored.returncode == 1
    kept = {name: (DUMPS / name).stat().st_mtime_ns for name in dumps()}
    again = run(FOUR, "-warmup=0")
    assert again.returncode == 0, again.stderr
    assert f"{len(kept)} kept from an interrupted run, {len(missing)} timed" in again.stdout
    assert len(dumps()) == SAMPLES
    assert all((DUMPS / name).stat().st_mtime_ns == time_ns for name, time_ns in kept.items())
    assert cards.made()["counts"]["timed"] == len(missing)


def test_other_devices_may_go_on_where_one_failed(place: Path) -> None:
    assert run(FOUR, "-warmup=0", fault="device_dies:2/0").returncode == 1
    again = run("0,1")
    assert again.returncode == 0, again.stderr
    assert "kept from an interrupted run" in again.stdout
    assert len(dumps()) == SAMPLES


def test_where_all_devices_fail_all_are_named_and_what_is_done_is_kept(place: Path) -> None:
    done = run("0,1", "-warmup=0", fault="device_dies:/8")
    assert done.returncode == 1
    assert "device 0 failed: " in done.stderr
    assert "device 1 failed: " in done.stderr
    there = len(dumps())
    assert 0 < there <= 16
    assert f"({there} of {SAMPLES} samples are dumped)" in done.stderr
    assert len(cards.made()["details"]["missing"]) == SAMPLES - there


def test_a_device_that_does_not_open_stops_the_run_before_anything_is_touched(place: Path) -> None:
    assert run(FOUR).returncode == 0
    before = dumps()
    done = run(FOUR, fault="device_busy:2")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "device 2 does not take m_bs1.om" in done.stderr
    assert dumps() == before
    assert cards.made()["status"] == "complete"


def test_a_process_killed_from_outside_leaves_nobody_waiting(place: Path) -> None:
    models.save_slow(Path("slow.onnx"))
    assert case.convert(cards.EXACT, model="slow", batch=1) == 0
    command = [sys.executable, str(cards.PROJECT / "benchmark.py")]
    flags = cards.flags(device_id="0,1", batch_size=1, om_path="slow_bs1.om")
    running = subprocess.Popen(
        [*command, *flags, "-warmup=0"],
        env=standins.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (DUMPS.is_dir() and any(DUMPS.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.01)
    helpers = Path(f"/proc/{running.pid}/task").glob("*/children")
    words = [word for file in helpers for word in file.read_text().split()]
    if not words:
        running.kill()
        pytest.skip("this system does not tell a process's children")
    for process in map(int, words):
        if b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(process, signal.SIGKILL)
            break
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "its process was killed by SIGKILL" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-device_id=0,0"], "names a device twice"),
        (["-device_id=0,"], "is not a whole number"),
        (["-device_id=0,256"], "256 is not a whole number from 0 to 255"),
        (["-device_id=0,1", "-round=3"], "-round takes one device at a time"),
    ],
)
def test_lists_of_devices_that_say_nothing_are_refused(words: list[str], said: str) -> None:
    more = [] if "-round=3" in words else ["-input_text_path=x.info"]
    done = cards.stage("benchmark.py", "-om_path=m.om", *words, *more)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


class Card:
    """A session on devices 0 to `count` - 1, two requests each, that fail as `fails` says."""

    engine, version, precision, start, threads = "card", "1", CONVERTED, "here", 1

    def __init__(self, count: int, fails: dict[int, int]) -> None:
        self.devices = tuple(range(count))
        self.requests = 2 * count
        self.inputs: tuple[TensorInfo, ...] = (TensorInfo("image", (2, 1), np.dtype(np.float32)),)
        self.outputs: tuple[TensorInfo, ...] = self.inputs
        self.executed = self.called = [(0, 1)] * self.requests
        self._fails, self._done = fails, collections.Counter[int]()
        self._lock = threading.Lock()

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        device = request % len(self.devices)
        time.sleep(0.001)
        with self._lock:
            if self._done[device] >= self._fails.get(device, 1 << 30):
                raise DeviceLost(f"device {device} failed: gone", "look")
            self._done[device] += 1
            return [batch.copy()]

    def cancel(self) -> None:
        """Have nothing to end."""


class Numbers:
    """Samples whose one value is their number."""

    workers = 2

    def __init__(self, count: int) -> None:
        self.names: Sequence[str] = [f"s{n}" for n in range(count)]

    def read(self, batch: Batch) -> None:
        batch.tensor[: batch.count, 0] = np.arange(batch.first, batch.first + batch.count)

    def prepare(self, batch: Batch) -> None:
        pass


class Kept:
    """What was written: sample by sample, how often."""

    def __init__(self) -> None:
        self.values: collections.Counter[int] = collections.Counter()

    def write(self, batch: Batch) -> None:
        self.values.update(int(value) for value in batch.outputs[0][: batch.count, 0])


@pytest.mark.parametrize("fails", [{}, {1: 0}, {1: 5}, {0: 3, 2: 7}, {0: 0, 1: 0, 2: 0}])
@pytest.mark.parametrize("count", [1, 401])
def test_the_others_do_the_rest_and_no_sample_is_lost_unsaid(
    fails: dict[int, int], count: int
) -> None:
    session, kept = Card(3, fails), Kept()
    flow = Flow(session, Numbers(count), kept, 2)
    try:
        measured = flow.run(lambda done: None)
    except DeviceLost as error:
        missing = {s for n in flow.missing() for s in range(2 * n, min(2 * n + 2, count))}
        assert missing
        assert f"{len(missing)} of {count} samples are missing" in error.what
        assert all(f"device {d} failed" in error.what for d in fails if count > 1)
        if count > 1 and len(fails) < 3:
            assert len(missing) <= 8 * len(fails)  # two batches that were there, two that came
    else:
        missing = set()
        assert not fails or count == 1
        assert sum(call.samples for call in measured.ran) == count
    assert kept.values == dict.fromkeys(set(range(count)) - missing, 1)
    assert flow.written == count - len(missing)


def test_a_chip_has_its_own_part_of_the_rates_and_the_card_their_sum() -> None:
    whole = Span()
    whole.add(0, 1_000_000_000)
    ran = [Call(0, 4, 0, 100), Call(1, 4, 0, 200), Call(2, 4, 100, 200), Call(3, 2, 200, 400)]
    executes = [(10, 90), (20, 180), (110, 190), (220, 380)]
    spans = (whole, whole, whole, whole)
    measured = Measured(14, 4, *spans, executes, [c.end - c.start for c in ran], ran)
    one, two = devices.chips(measured, Card(2, {}))
    assert (one.device, one.samples, two.device, two.samples) == (0, 8, 1, 6)
    assert one.perf.interface_rate == pytest.approx(8 / 160e-9)
    assert two.perf.interface_rate == pytest.approx(6 / 320e-9)
    assert one.perf.infer_rate == pytest.approx(8 / 200e-9)
    assert one.perf.e2e_rate == pytest.approx(8)
    card = devices.card_perf(measured, [one, two])
    assert card.interface_rate == pytest.approx(8 / 160e-9 + 6 / 320e-9)
    assert card.e2e_rate == pytest.approx(14)


@pytest.mark.parametrize("numbers", [[0, 1], [3, 0, 12]])
def test_the_name_of_a_cards_perf_file_says_its_devices(numbers: Sequence[int]) -> None:
    name = perf.card_perf_name("vision", 16, numbers)
    found = perf.split_name(name)
    assert found is not None
    assert (found.devices, found.batch_size, found.model_type) == (tuple(numbers), 16, "vision")
    assert "_device_" not in name
