"""A folder of dumps: its record, its arrays, and reading it by several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import dump_folder, machine, scoring, shares
from pipeline.errors import PipelineError
from tests.dumps import expected, make_case, write_record

SCRIPT = Path(__file__).resolve().parent.parent / "vision_metric_ImageNet.py"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = arguments or ("dumps", "labels.txt", "./", "result.json")
    return subprocess.run(
        [sys.executable, str(SCRIPT), *command], cwd=folder, capture_output=True, text=True
    )


def test_record_of_a_complete_run_with_these_counts_verifies_the_dumps(tmp_path: Path) -> None:
    make_case(tmp_path, images=3)
    write_record(tmp_path, counts={"dumped": 3, "outputs_per_sample": 1})
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "unverified" not in done.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"status": "running"}, "running"),
        ({"status": "failed"}, "failed"),
        ({"counts": {"dumped": 4, "outputs_per_sample": 1}}, "its record says 4 with 1"),
        ({"counts": {"dumped": 3, "outputs_per_sample": 2}}, "its record says 3 with 2"),
        ({"counts": {"dumped": None}}, "its record says None with 1"),
        ({"counts": {"dumped": 3, "samples": 4, "not_done": 1}}, "the run was given 4"),
        ({"counts": {"dumped": 3, "given": 5, "refused": 1}}, "do not add up"),
        ({"stage": "preprocess"}, "was made by the stage preprocess, not by benchmark"),
    ],
)
def test_record_of_another_or_an_unfinished_run_stops_the_scoring(
    content: dict[str, Any], words: str, tmp_path: Path
) -> None:
    make_case(tmp_path, images=3)
    write_record(tmp_path, **content)
    done = run(tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "uint8"])
def test_binary_dumps_are_of_the_dtype_that_the_record_has(dtype: str, tmp_path: Path) -> None:
    scores, labels = make_case(tmp_path, binary=True)
    order = np.argsort(np.argsort(scores, axis=1), axis=1)
    scores = np.maximum(order - 1000 + 255, 0).astype(np.float32)  # what even uint8 can hold
    for path, row in zip(sorted((tmp_path / "dumps").iterdir()), scores, strict=True):
        path.write_bytes(row.astype(dtype).tobytes())
    counts = {"dumped": len(scores), "outputs_per_sample": 1}
    write_record(tmp_path, counts=counts, details={"output_dtypes": [dtype, "float32"]})
    found = scoring.score(tmp_path / "dumps", tmp_path / "labels.txt")
    assert (list(found.hits), found.classes) == (expected(scores, labels), 1000)


def test_binary_dump_that_is_cut_off_is_measured_by_its_dtype(tmp_path: Path) -> None:
    make_case(tmp_path, binary=True, images=3)
    write_record(tmp_path, details={"output_dtypes": ["int64"]})
    first = min((tmp_path / "dumps").iterdir())
    first.write_bytes(bytes(12))
    done = run(tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "has 12 bytes, no whole number of int64" in done.stderr


def make_arrays(folder: Path, scores: NDArray[np.generic], names: str) -> None:
    (folder / "dumps").mkdir(exist_ok=True)
    for path in (folder / "dumps").iterdir():
        path.unlink()
    np.save(folder / "dumps" / "results_1.npy", scores)
    (folder / "dumps" / "results.names").write_text(names)


def test_one_array_of_all_results_scores_as_the_single_dumps_do(tmp_path: Path) -> None:
    scores, labels = make_case(tmp_path, images=300)
    names = "".join(f"ILSVRC2012_val_{n + 1:08d}\n" for n in range(300))
    make_arrays(tmp_path, scores.reshape(300, 1000, 1, 1), names)
    np.save(tmp_path / "dumps" / "results_2.npy", np.zeros((300, 4)))
    (tmp_path / "dumps" / "notes.txt").write_text("")
    write_record(tmp_path, counts={"dumped": 300, "outputs_per_sample": 2})
    found = scoring.score(tmp_path / "dumps", tmp_path / "labels.txt")
    assert list(found.hits) == expected(scores, labels)
    assert (found.images, found.other_outputs, found.passed_over) == (300, 300, 1)
    assert found.doubts == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "results.names").unlink(), "without results.names"),
        (lambda f: (f / "results.names").write_text("a\n"), "2 rows"),
        (lambda f: (f / "results.names").write_text("a\na\n"), "one image"),
        (lambda f: (f / "results_1.npy").write_bytes(b"\x93NUMPY"), "no whole array"),
        (lambda f: (f / "results_1.npy").write_bytes(b""), "no whole array"),
        (lambda f: os.truncate(f / "results_1.npy", 140), "no whole array"),
        (lambda f: np.save(f / "results_1.npy", np.array(["x", "y"])), "no scores"),
        (lambda f: np.save(f / "results_1.npy", np.zeros((2, 0))), "no scores"),
        (lambda f: np.save(f / "results_1.npy", np.float32(1)), "no scores"),
        (lambda f: np.save(f / "results_1.npy", np.full((2, 3), np.nan)), "row 0 (a) holds a NaN"),
        (lambda f: (f / "a_1.txt").write_text("1 2 3 "), "single dumps"),
    ],
)
def test_damaged_array_is_an_error_that_names_it(
    damage: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    make_arrays(tmp_path, np.zeros((2, 3), np.float32), "a\nb\n")
    (tmp_path / "labels.txt").write_text("a.jpg 0\nb.jpg 1\n")
    damage(tmp_path / "dumps")
    with pytest.raises(PipelineError) as caught:
        scoring.score(tmp_path / "dumps", tmp_path / "labels.txt")
    assert words in str(caught.value)


@pytest.fixture
def three_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr(dump_folder, "TEXT_SHARE", 1)
    monkeypatch.setattr(dump_folder, "BINARY_SHARE", 1)
    if not shares.can_fork():
        pytest.skip("this system does not fork")


@pytest.mark.usefixtures("three_processes")
@pytest.mark.parametrize("binary", [False, True])
def test_several_processes_find_what_one_does(binary: bool, tmp_path: Path) -> None:
    scores, labels = make_case(tmp_path, images=101, binary=binary)
    found = scoring.score(tmp_path / "dumps", tmp_path / "labels.txt")
    assert (found.images, list(found.hits)) == (101, expected(scores, labels))


@pytest.mark.usefixtures("three_processes")
def test_of_the_errors_of_several_processes_the_first_file_is_named(tmp_path: Path) -> None:
    make_case(tmp_path, images=30)
    for number in (8, 15, 28):
        path = tmp_path / "dumps" / f"ILSVRC2012_val_{number:08d}_1.txt"
        path.write_text("1 2 3 ")
    with pytest.raises(PipelineError, match=r"val_00000008_1\.txt holds 3 values") as caught:
        scoring.score(tmp_path / "dumps", tmp_path / "labels.txt")
    assert "in blocks" in caught.value.__notes__[0]  # the traceback of the process, for -v


@pytest.mark.parametrize("name", ["val_00000001_1.txt", "val_00000001_1.bin"])
def test_dump_larger_than_any_is_refused_and_not_held(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"1 ")
    os.truncate(path, 1 << 40)
    with pytest.raises(PipelineError, match="has more than 64 MiB"):
        dump_folder.find(tmp_path)


@pytest.mark.parametrize("damage", ["zip", "cut", "header", "objects", "huge"])
def test_array_that_is_damaged_or_holds_objects_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "results_1.npy"
    np.save(path, np.zeros((2, 3), object if damage == "objects" else np.float32))
    data = path.read_bytes()
    if damage == "zip":
        with path.open("wb") as file:
            np.savez(file, a=np.zeros(3))
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "header":
        path.write_bytes(data.replace(b"{'descr'", b"(((((((("))
    elif damage == "huge":
        path.write_bytes(data.replace(b"(2, 3), }" + b" " * 20, b"(9999999999, 9999999999), }  "))
    (tmp_path / "results.names").write_bytes(b"a\nb\n")
    with pytest.raises(PipelineError, match=r"results_1\.npy is no whole array") as caught:
        dump_folder.find(tmp_path)
    assert "\n" not in str(caught.value)
