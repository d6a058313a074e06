"""A benchmark that is cut short and run again: killed, interrupted, out of room, out of luck."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipeline import atomic, ledger, record
from pipeline.ledger import Ledger
from tests import models
from tests.test_benchmark import (
    COUNT,
    Enter,
    contents,
    counts_of,
    data,
    dataset_flags,
    enter,
    start_slow_run,
    status_of,
    write_data,
)
from tests.test_benchmark import command as benchmark_command

__all__ = ["data", "enter"]  # fixtures

KILLS = int(os.environ.get("VOVNET39_TEST_KILLS", "2"))  # for each form
SEED = int(os.environ.get("VOVNET39_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
SAMPLES = 40
DUMPS = Path("result/dumpOutput_device0")
WHOLE = Path("result/dumpOutput_device1")  # of a run that nothing disturbed
FORMS = {"text": {}, "binary": {"output_binary": "true"}, "npy": {"dump": "npy"}}


def details_of(folder: Path) -> dict[str, Any]:
    made = record.load(folder / DUMPS)
    assert made is not None
    return dict(made["details"])


def left_overs(folder: Path) -> list[str]:
    """Return what a run should have removed at its end, wherever it lies."""
    names = (path.name for path in folder.rglob("*"))
    return [n for n in names if n.endswith((".partial", ".lock", ledger.SUFFIX))]


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(benchmark_command(*flags), cwd=folder, capture_output=True, text=True)


def batches_noted(folder: Path) -> int:
    try:
        return ledger.path_of(folder / DUMPS).read_bytes().count(b'{"item":')
    except FileNotFoundError:
        return -1


@pytest.mark.parametrize("form", FORMS)
def test_killed_at_random_and_run_again_it_ends_with_the_bytes_of_an_undisturbed_run(
    form: str, tmp_path: Path
) -> None:
    seed = f"{SEED} {form}"
    print(f"seed {SEED}: the same kills again with VOVNET39_TEST_SEED={SEED}")
    chance = random.Random(seed)
    models.save_slow(tmp_path / "m.onnx", layers=2)
    write_data(tmp_path, count=SAMPLES)
    flags = {"batch_size": "3", "engine": "onnxruntime", **FORMS[form]}
    assert run(tmp_path, *dataset_flags(device_id="1", **flags)).returncode == 0
    whole = contents(tmp_path / WHOLE)
    for _ in range(KILLS):
        process = subprocess.Popen(
            benchmark_command(*dataset_flags(**flags)),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        noted = batches_noted(tmp_path) + chance.randrange(0, 10)
        while process.poll() is None and batches_noted(tmp_path) < noted:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.005)
        process.kill()
        process.wait()
    done = run(tmp_path, *dataset_flags(**flags))
    assert done.returncode == 0, (SEED, done.stderr)
    assert contents(tmp_path / DUMPS) == whole, SEED
    assert left_overs(tmp_path) == [], SEED
    counts = counts_of(tmp_path)
    assert counts["kept"] + counts["timed"] == counts["dumped"] == SAMPLES
    assert status_of(tmp_path) == "complete"


def block(folder: Path, sample: int = 6) -> Path:
    """Put a folder where a dump is to go, so that a run stops there."""
    blocked = folder / DUMPS / f"img{sample}_1.txt"
    blocked.mkdir(parents=True)
    return blocked


def fail_midway(enter: Enter, folder: Path, **changes: str) -> dict[str, int]:
    """Run until sample 6 and return the counts; the next run may go on."""
    blocked = block(folder)
    code, out, err = enter(*dataset_flags(batch_size="1", engine="onnxruntime", **changes))
    assert (code, out) == (1, ""), err
    blocked.rmdir()
    return counts_of(folder)


@pytest.mark.usefixtures("data")
def test_what_was_whole_is_kept_and_only_the_rest_is_run_and_timed(
    enter: Enter, tmp_path: Path
) -> None:
    before = fail_midway(enter, tmp_path)
    assert 0 < before["dumped"] < COUNT
    assert before["samples"] == before["dumped"] + before["not_done"]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / DUMPS).iterdir()}
    code, out, err = enter(*dataset_flags(batch_size="1", engine="onnxruntime"))
    assert code == 0, err
    kept, timed = before["dumped"], COUNT - before["dumped"]
    said = f"10 of 10 samples ({kept} kept from an interrupted run, {timed} timed)"
    assert said in out.splitlines()[-1]
    assert f"{kept} of 10 samples are kept from an interrupted run" in err
    counts = counts_of(tmp_path)
    assert (counts["samples"], counts["dumped"], counts["not_done"]) == (10, 10, 0)
    assert (counts["kept"], counts["timed"]) == (kept, timed)
    details = details_of(tmp_path)
    assert details["resumed"] is True
    assert len(details["latencies_us"]) == timed
    kept_files = [path for path, time_ns in times.items() if path.stat().st_mtime_ns == time_ns]
    assert len(kept_files) == 3 * kept
    assert enter(*dataset_flags(batch_size="1", engine="onnxruntime", device_id="1"))[0] == 0
    assert contents(tmp_path / DUMPS) == contents(tmp_path / WHOLE)
    assert left_overs(tmp_path) == []


def test_the_error_says_how_far_the_run_came(
    enter: Enter, data: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    block(tmp_path)
    _, _, err = enter(*dataset_flags(batch_size="1", engine="onnxruntime"), "-q")
    done = counts_of(tmp_path)["dumped"]
    assert f"File exists ({done} of 10 samples are dumped): {DUMPS}/img6_1.txt; " in err


def touch_input(folder: Path) -> dict[str, str]:
    os.utime(folder / "prep/img9.bin")
    return {}


def other_model(folder: Path) -> dict[str, str]:
    models.save_classifier(folder / "m.onnx", size=32, extra_outputs=True, seed=1)
    return {}


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    "change",
    [
        touch_input,
        other_model,
        lambda folder: {"batch_size": "4"},
        lambda folder: {"engine": "openvino"},
        lambda folder: {"threads": "1"},
        lambda folder: {"output_binary": "true"},
        lambda folder: {"dump": "npy"},
        lambda folder: {"force": ""},
    ],
)
def test_under_other_terms_or_with_force_it_starts_anew(
    change: Callable[[Path], dict[str, str]], enter: Enter, tmp_path: Path
) -> None:
    fail_midway(enter, tmp_path, threads="2")
    changes = {"batch_size": "1", "engine": "onnxruntime", "threads": "2", **change(tmp_path)}
    force = ["-force"] if "force" in changes else []
    changes.pop("force", None)
    assert enter(*dataset_flags(**changes), *force)[0] == 0
    assert counts_of(tmp_path)["kept"] == 0
    assert enter(*dataset_flags(device_id="1", **changes))[0] == 0
    assert contents(tmp_path / DUMPS) == contents(tmp_path / WHOLE)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def rewrite(path: Path) -> None:
    """Change a digit, and neither size nor name."""
    path.write_bytes(path.read_bytes()[::-1])


def link_away(path: Path) -> None:
    path.rename(path.with_name("mine"))
    path.symlink_to("mine")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("damage", [cut, rewrite, Path.unlink, link_away])
def test_a_dump_that_is_not_what_was_written_is_made_again(
    damage: Callable[[Path], None], enter: Enter, tmp_path: Path
) -> None:
    before = fail_midway(enter, tmp_path)
    (tmp_path / DUMPS / "intruder_1.txt").write_text("1 2 3 \n")
    damage(min((tmp_path / DUMPS).glob("img[0-5]_2.txt")))  # two threads read: not always img0
    assert enter(*dataset_flags(batch_size="1", engine="onnxruntime"))[0] == 0
    assert counts_of(tmp_path)["kept"] == before["dumped"] - 1
    assert enter(*dataset_flags(batch_size="1", engine="onnxruntime", device_id="1"))[0] == 0
    made = contents(tmp_path / DUMPS)
    made.pop("mine", None)
    assert made == contents(tmp_path / WHOLE)


def no_room(book: Ledger) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "result")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_is_left_to_run_the_last_batch_is_timed_again(
    form: str, enter: Enter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "sync", no_room)
        assert enter(*dataset_flags(**FORMS[form]))[0] == 1
    assert status_of(tmp_path) == "failed"
    assert counts_of(tmp_path)["dumped"] == COUNT
    assert not list((tmp_path / "result").glob("perf*"))
    code, out, err = enter(*dataset_flags(**FORMS[form]))
    assert code == 0, err
    assert "10 of 10 samples (8 kept from an interrupted run, 2 timed)" in out
    assert len(details_of(tmp_path)["latencies_us"]) == 1
    assert enter(*dataset_flags(device_id="1", **FORMS[form]))[0] == 0
    assert contents(tmp_path / DUMPS) == contents(tmp_path / WHOLE)
    assert left_overs(tmp_path) == []


@pytest.mark.usefixtures("data")
def test_a_run_that_ends_between_the_renames_of_its_arrays_loses_no_row(
    enter: Enter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = atomic.rename

    def fail_second(partial: Path, path: Path) -> None:
        if path.name == "results_2.npy":
            raise OSError(errno.EIO, "Input/output error", str(path))
        rename(partial, path)

    flags = dataset_flags(dump="npy")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "rename", fail_second)
        code, _, err = enter(*flags)
        assert (code, "results_2.npy" in err) == (1, True)
    assert {"results_1.npy", ".results_2.npy.partial"} <= set(contents(tmp_path / DUMPS))
    assert enter(*flags)[0] == 0
    assert counts_of(tmp_path)["kept"] == 8
    assert enter(*flags, "-device_id=1")[0] == 0
    assert contents(tmp_path / DUMPS) == contents(tmp_path / WHOLE)


@pytest.mark.usefixtures("data")
def test_rows_that_are_not_what_was_written_are_made_again(
    enter: Enter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "sync", no_room)
        assert enter(*dataset_flags(dump="npy"))[0] == 1
    array = tmp_path / DUMPS / "results_1.npy"
    content = bytearray(array.read_bytes())
    content[200] ^= 1  # in the first row
    array.write_bytes(content)
    assert enter(*dataset_flags(dump="npy"))[0] == 0
    assert counts_of(tmp_path)["kept"] == 4, "two of three batches were run"
    assert enter(*dataset_flags(dump="npy", device_id="1"))[0] == 0
    assert contents(tmp_path / DUMPS) == contents(tmp_path / WHOLE)


@pytest.mark.usefixtures("data")
def test_a_complete_run_is_measured_anew_though_its_ledger_was_left(
    enter: Enter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert enter(*dataset_flags())[0] == 0
    assert counts_of(tmp_path)["kept"] == 0
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "remove", lambda folder: None)
        assert enter(*dataset_flags())[0] == 0
    assert ledger.path_of(tmp_path / DUMPS).exists()
    assert enter(*dataset_flags())[0] == 0
    assert counts_of(tmp_path)["kept"] == 0
    assert left_overs(tmp_path) == []


def test_a_dump_folder_that_is_taken_away_midway_is_named(tmp_path: Path) -> None:
    models.save_slow(tmp_path / "m.onnx")
    write_data(tmp_path, count=50)
    process = start_slow_run(tmp_path)
    (tmp_path / DUMPS).rename(tmp_path / "elsewhere")
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1].startswith(
        f"benchmark.py: error: {DUMPS} was removed during the run; "
    )
    assert not list((tmp_path / "result").glob("perf*"))


def test_an_input_that_vanishes_midway_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    models.save_slow(tmp_path / "m.onnx")
    write_data(tmp_path, count=50)
    process = start_slow_run(tmp_path)
    (tmp_path / "prep/img49.bin").rename(tmp_path / "away")
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert "img49.bin; check the path" in err.splitlines()[-1]
    before = counts_of(tmp_path)
    assert before["samples"] == before["dumped"] + before["not_done"] == 50
    (tmp_path / "away").rename(tmp_path / "prep/img49.bin")
    assert run(tmp_path, *dataset_flags(batch_size="1")).returncode == 0
    assert counts_of(tmp_path)["kept"] == before["dumped"] > 0


def test_after_ctrl_c_the_same_command_goes_on(tmp_path: Path) -> None:
    models.save_slow(tmp_path / "m.onnx")
    write_data(tmp_path, count=50)
    process = start_slow_run(tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    before = counts_of(tmp_path)
    assert f"interrupted; {before['dumped']} of 50 samples are dumped; " in err
    assert before["samples"] == before["dumped"] + before["not_done"] == 50
    assert run(tmp_path, *dataset_flags(batch_size="1")).returncode == 0
    assert counts_of(tmp_path)["kept"] == before["dumped"] > 0


def test_after_sigterm_the_same_command_goes_on(tmp_path: Path) -> None:
    models.save_slow(tmp_path / "m.onnx")
    write_data(tmp_path, count=50)
    process = start_slow_run(tmp_path)
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert status_of(tmp_path) == "failed"
    assert run(tmp_path, *dataset_flags(batch_size="1")).returncode == 0
    assert counts_of(tmp_path)["kept"] > 0
    assert left_overs(tmp_path) == []


STUCK = """
import sys, threading
sys.path.insert(0, {project!r})
import benchmark
from cli import door
from pipeline import engines

def load(*arguments):
    print("compiling", flush=True)
    threading.Event().wait(600)

engines.load = load
sys.exit(door.enter(benchmark.build_parser(), benchmark.call, {flags!r}))
"""


@pytest.mark.usefixtures("data")
def test_ctrl_c_does_not_wait_for_a_model_that_is_being_compiled(tmp_path: Path) -> None:
    project = str(Path(__file__).resolve().parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(project=project, flags=dataset_flags())],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert "interrupted" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "result").exists()


def save_moody(path: Path) -> None:
    """Write a model of four numbers; with the first below 0 an output is shorter than before.

    With the second number above 9 it fails.
    """
    row: list[str | int | None] = ["batch", 4]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, row)
    some = helper.make_tensor_value_info("some", TensorProto.FLOAT, ["some", 4])
    every = helper.make_tensor_value_info("every", TensorProto.FLOAT, row)
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
        helper.make_tensor("one", TensorProto.INT64, [], [1]),
        helper.make_tensor("none", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("table", TensorProto.FLOAT, [10, 4], [0.5] * 40),
    ]
    nodes = [
        helper.make_node("Gather", ["image", "zero"], ["first"], axis=1),
        helper.make_node("Less", ["first", "none"], ["below"]),
        helper.make_node("Not", ["below"], ["chosen"]),
        helper.make_node("Compress", ["image", "chosen"], ["some"], axis=0),
        helper.make_node("Gather", ["image", "one"], ["second"], axis=1),
        helper.make_node("Cast", ["second"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["every"]),
    ]
    graph = helper.make_graph(nodes, "moody", [image], [some, every], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ((-1, 0, 0, 0), "outputs"),
        ((0, 99, 0, 0), "onnxruntime failed to run the model: .*in the batch from .*img18.bin"),
    ],
)
def test_a_model_that_fails_or_changes_midway_is_one_line(
    form: str, value: tuple[int, ...], said: str, enter: Enter, tmp_path: Path
) -> None:
    save_moody(tmp_path / "m.onnx")
    (tmp_path / "prep").mkdir()
    lines = []
    for i in range(40):
        row = np.array(value if i == 19 else (i, 0, 0, 0), np.float32)
        row.tofile(tmp_path / f"prep/img{i}.bin")
        lines.append(f"{i} prep/img{i}.bin 1 1\n")
    (tmp_path / "data.info").write_text("".join(lines))
    flags = ["-om_path=m.onnx", "-input_text_path=data.info", "-engine=onnxruntime"]
    form_flags = [f"-{name}={word}" for name, word in FORMS[form].items()]
    code, out, err = enter(*flags, *form_flags, "-batch_size=2", "-q")
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert re.search(said, err), err
    counts = counts_of(tmp_path)
    assert counts["samples"] == counts["dumped"] + counts["not_done"] == 40
    assert f"({counts['dumped']} of 40 samples are dumped)" in err
