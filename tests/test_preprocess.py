"""`vovnet_torch_preprocess.py` as a user calls it: folders, faults, interruption."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from pipeline import record, shares
from pipeline.imagenet.folder import EXTENSIONS, find_images
from pipeline.imagenet.labels import read_labels
from tests.images import photo, write_broken_pictures, write_odd_pictures
from tests.preprocessing import (
    CROPPED,
    MANY,
    REFERENCE,
    SCRIPT,
    load,
    members,
    outputs,
    preprocess,
    rgb,
    start_slow_run,
    wait_for,
    working,
    write_pictures,
)
from tests.processes import command_line


def test_flat_folder_of_odd_pictures_becomes_torchvisions_tensors(tmp_path: Path) -> None:
    paths = write_odd_pictures(tmp_path / "my pictures")
    (tmp_path / "my pictures" / "notes.txt").write_text("no picture")
    done = preprocess(tmp_path, "my pictures", "out put", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(f"OK: {len(paths)} of {len(paths)} images prepared, 1 other file")
    assert done.stdout.endswith("-> out put\n")
    made = outputs(tmp_path / "out put")
    assert len(made) == len(paths)
    for path in paths:
        values = made[path.name.split(".")[0] + ".bin"]
        assert len(values) == 602_112
        assert values == REFERENCE(rgb(path)).numpy().tobytes(), path.name
    content = load(tmp_path / "out put")
    assert content["status"] == "complete"
    assert content["settings"]["dtype"] == "float32"
    assert content["counts"] == {
        "given": len(paths),
        "done": len(paths),
        "kept": 0,
        "refused": 0,
        "not_done": 0,
        "passed_over": 1,
    }
    assert sorted(content["details"]["files"]) == sorted(made)


def test_uint8_output_is_the_cropped_pixels(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo(500, 375).save(tmp_path / "in" / "a.png")
    assert preprocess(tmp_path, "in", "out", "--dtype", "uint8").returncode == 0
    expected = np.asarray(CROPPED(rgb(tmp_path / "in" / "a.png")))
    assert expected.shape == (224, 224, 3)
    assert (tmp_path / "out" / "a.bin").read_bytes() == expected.tobytes()
    assert load(tmp_path / "out")["settings"]["dtype"] == "uint8"


def test_class_folders_are_labelled_as_image_folder_labels_them(tmp_path: Path) -> None:
    names = "n02/b.jpg n02/deep/a.JPEG n01/c.jpg N10/d.jpg n1/e.Jpg .hidden/f.jpg n01/.g.jpg"
    write_pictures(tmp_path / "in", names)
    (tmp_path / "in" / "n01" / "notes.txt").write_text("")
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("-> out, labels in out/val_label.txt\n")
    (tmp_path / "in" / ".hidden" / "f.jpg").unlink()
    (tmp_path / "in" / ".hidden").rmdir()
    (tmp_path / "in" / "n01" / ".g.jpg").unlink()
    oracle = datasets.ImageFolder(str(tmp_path / "in"))
    expected = {Path(path).name.split(".")[0]: label for path, label in oracle.samples}
    assert read_labels(tmp_path / "out" / "val_label.txt") == expected
    assert (tmp_path / "out" / "val_label.txt").read_text().startswith("d.jpg 0\n")
    found = find_images(tmp_path / "in")
    assert list(found.classes) == oracle.classes
    assert [(str(item.path), item.label) for item in found.items] == oracle.samples
    assert set(outputs(tmp_path / "out")) == {
        "a.bin",
        "b.bin",
        "c.bin",
        "d.bin",
        "e.bin",
        "val_label.txt",
    }


def test_extensions_are_torchvisions() -> None:
    assert set(EXTENSIONS) == set(datasets.folder.IMG_EXTENSIONS)


def test_limit_takes_the_first_by_name_and_of_classes_in_turn(tmp_path: Path) -> None:
    write_pictures(tmp_path / "flat", "c.jpg a.jpg b.jpg")
    write_pictures(tmp_path / "classes", "x/a.jpg x/b.jpg x/c.jpg y/d.jpg z/e.jpg z/f.jpg")

    def stems(folder: str, limit: int) -> str:
        return "".join(item.stem for item in find_images(tmp_path / folder, limit).items)

    assert [stems("flat", limit) for limit in (1, 2, 9)] == ["a", "ab", "abc"]
    assert [stems("classes", n) for n in (2, 3, 5, 6)] == ["ad", "ade", "abdef", "abcdef"]
    assert preprocess(tmp_path, "flat", "out", "--limit", "2").stdout.startswith("OK: 2 of 2")
    assert set(outputs(tmp_path / "out")) == {"a.bin", "b.bin"}


def test_undecodable_images_are_named_and_the_good_ones_are_there(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg z.jpg")
    broken = write_broken_pictures(tmp_path / "in")
    (tmp_path / "in" / "bad_link.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "bad_new\nline.jpg").write_bytes(b"")
    (tmp_path / "out").mkdir()
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 1
    refused = [line for line in done.stderr.splitlines() if line.startswith("refused: ")]
    assert len(refused) == len(done.stderr.splitlines()) == len(broken) + 2
    for path in broken:
        assert any(f"in/{path.name} cannot be decoded: " in line for line in refused)
    assert "refused: in/bad_link.jpg cannot be read: No such file or directory" in refused
    assert "FAILED: 3 of 12 images prepared, 9 refused" in done.stdout
    assert set(outputs(tmp_path / "out")) == {"a.bin", "b.bin", "z.bin"}
    content = load(tmp_path / "out")
    assert (content["status"], content["good"]) == ("complete", False)
    assert content["counts"] == {
        "given": 12,
        "done": 3,
        "kept": 0,
        "refused": 9,
        "not_done": 0,
        "passed_over": 0,
    }
    assert len(content["details"]["refused"]) == 9


def test_only_the_first_refused_images_fill_the_screen(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(30):
        (tmp_path / "in" / f"{number:02}.jpg").write_bytes(b"x")
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 21
    assert done.stderr.endswith("refused: 10 more, all of them in out.record.json\n")
    assert len(load(tmp_path / "out")["details"]["refused"]) == 30


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", "in holds no image"),
        ("a.txt", "in holds no image"),
        (".a.jpg", "in holds no image"),
        ("a.jpg a.png", "in/a.jpg and in/a.png would both become a.bin"),
        ("a.b.jpg a.c.jpg", "in/a.b.jpg and in/a.c.jpg would both become a.bin"),
        ("x/a.jpg y/a.jpg", "in/x/a.jpg and in/y/a.jpg would both become a.bin"),
        ("a.jpg x/b.jpg", "in mixes images (a.jpg) and class folders with images (x)"),
        ("x/a.jpg y/b.txt", "the class folder in/y holds no image"),
    ],
)
def test_unfit_image_folder_is_one_line_and_nothing_is_made(
    tmp_path: Path, names: str, said: str
) -> None:
    (tmp_path / "in").mkdir()
    write_pictures(tmp_path / "in", names)
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("in", 2, "required: DST"),
        ("in out --workers 0", 2, "0 is not a whole number from 1 to 1024"),
        ("in out --limit -1", 2, "--limit"),
        ("in out --dtype uint16", 2, "'uint16' is not one of float32, uint8 (did you mean uint8?)"),
        ("in out --worker 2", 2, "did you mean --workers?"),
        ("gone out", 1, "gone does not exist"),
        ("in/a.jpg out", 1, "in/a.jpg is no folder"),
        ("in in", 1, "the output folder in lies in the image folder in"),
        ("in in/out", 1, "the output folder in/out lies in the image folder in"),
        ("in link/out", 1, "the output folder link/out lies in the image folder in"),
        ("in file", 1, "file is no folder"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path: Path, arguments: str, code: int, said: str) -> None:
    write_pictures(tmp_path / "in", "a.jpg")
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "file").write_text("")
    done = preprocess(tmp_path, *arguments.split())
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in", "link", "file"}
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.jpg"]


def test_second_run_removes_what_only_the_first_one_made(tmp_path: Path) -> None:
    write_pictures(tmp_path / "one", "x/a.jpg y/b.jpg")
    write_pictures(tmp_path / "two", "b.jpg c.jpg")
    assert preprocess(tmp_path, "one", "out").returncode == 0
    assert set(outputs(tmp_path / "out")) == {"a.bin", "b.bin", "val_label.txt"}
    (tmp_path / "out" / "readme.md").write_text("somebody's own")
    assert preprocess(tmp_path, "two", "out").returncode == 0
    assert set(outputs(tmp_path / "out")) == {"b.bin", "c.bin", "readme.md"}


def test_output_of_an_image_that_broke_since_is_removed(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    assert preprocess(tmp_path, "in", "out").returncode == 0
    (tmp_path / "in" / "a.jpg").write_bytes(b"broken")
    assert preprocess(tmp_path, "in", "out").returncode == 1
    assert set(outputs(tmp_path / "out")) == {"b.bin"}


@pytest.mark.parametrize("name", ["other.bin", "val_label.txt"])
def test_files_of_somebody_else_stop_the_run(tmp_path: Path, name: str) -> None:
    write_pictures(tmp_path / "in", "x/a.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("precious")
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 1
    assert f"out holds {name}, which this program did not make" in done.stderr
    assert outputs(tmp_path / "out") == {name: b"precious"}
    assert not record.path_of(tmp_path / "out").exists()


def test_folder_that_the_guides_script_made_of_these_images_is_made_anew(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.bin").write_bytes(b"unknown")
    assert preprocess(tmp_path, "in", "out").returncode == 0
    assert {len(data) for data in outputs(tmp_path / "out").values()} == {602_112}


def test_ctrl_c_ends_all_processes_and_leaves_whole_files_only(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the run
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.count("\n") == 1
    assert "interrupted" in errors
    wait_for(lambda: not members(process.pid))
    check_unfinished(tmp_path)
    assert not list((tmp_path / "out").glob(".*"))


def test_killed_run_leaves_whole_files_only_and_the_next_one_completes_it(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    process.kill()
    process.wait()
    wait_for(lambda: not members(process.pid))
    check_unfinished(tmp_path)
    assert load(tmp_path / "out")["status"] == "running"
    assert preprocess(tmp_path, "in", "out", "--limit", "4").returncode == 0
    assert set(outputs(tmp_path / "out")) == {f"00{number}.bin" for number in range(4)}
    assert load(tmp_path / "out")["status"] == "complete"
    process.communicate()


def test_killed_worker_is_one_line_and_ends_the_run(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    victim = working(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert f"error: worker process {victim} was killed by SIGKILL (" in errors
    assert "prepared); often the memory is too small: try again with fewer --workers\n" in errors
    wait_for(lambda: not members(process.pid))
    check_unfinished(tmp_path)
    assert load(tmp_path / "out")["status"] == "failed"


@pytest.mark.skipif(not shares.can_fork(), reason="this system does not fork")
def test_libraries_are_loaded_once_for_all_workers(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    commands = {command_line(number) for number in working(process.pid)}
    own = command_line(process.pid)
    process.kill()
    process.communicate()
    assert own
    assert commands == {own}, "they are not forked"


def check_unfinished(tmp_path: Path) -> None:
    found = list((tmp_path / "out").glob("*.bin"))
    assert 0 < len(found) < MANY
    assert {path.stat().st_size for path in found} == {602_112}
    assert load(tmp_path / "out")["status"] != "complete"


def test_write_that_fails_midway_ends_the_run_and_leaves_no_half_file(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    limit = resource.RLIMIT_FSIZE
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "in", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(limit, (300_000, 300_000)),
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "File too large: out/" in done.stderr
    assert outputs(tmp_path / "out") == {}
    assert load(tmp_path / "out")["status"] == "failed"


def test_output_that_cannot_be_written_ends_the_run_in_one_line(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    (tmp_path / "out" / "a.bin").mkdir(parents=True)
    done = preprocess(tmp_path, "in", "out", "-q")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Is a directory" in done.stderr
    assert load(tmp_path / "out")["status"] == "failed"
    assert not list((tmp_path / "out").glob(".*"))


def test_workers_load_no_torch_and_run_one_thread(tmp_path: Path) -> None:
    code = (
        "import json, os, sys\n"
        "import pipeline.prepare, pipeline.imagenet.transform, cv2\n"
        "print(json.dumps([sorted(sys.modules), cv2.getNumThreads()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True, check=True
    )
    modules, threads = json.loads(done.stdout)
    assert not {"torch", "torchvision", "onnxruntime", "openvino", "rich"} & set(modules)
    assert threads == 1
