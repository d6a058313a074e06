"""Info files: the format, and `get_info.py` as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import identity, record
from pipeline.errors import PipelineError
from pipeline.formats.info import InfoLine, read_info, write_info
from tests.images import jpeg, noise, write_broken_pictures

SCRIPT = Path(__file__).resolve().parent.parent / "get_info.py"


def get_info(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def make_bins(folder: Path, names: str = "b a c", size: int = 602_112) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names.split():
        (folder / f"{name}.bin").write_bytes(bytes(size))


def mark(folder: Path, **content: Any) -> None:
    """Write a record of the folder as it is now."""
    made: record.Json = {"schema": record.SCHEMA, "stage": "preprocess", "status": "complete"}
    made |= {"outputs": [identity.fingerprint(folder)], **content}
    record.path_of(folder).write_text(json.dumps(made))


def test_bins_are_listed_sorted_with_the_given_size_and_path(tmp_path: Path) -> None:
    make_bins(tmp_path / "prep_dataset")
    (tmp_path / "prep_dataset" / "notes.txt").write_text("no input")
    (tmp_path / "prep_dataset" / ".hidden.bin").write_text("no input")
    done = get_info(tmp_path, "bin", "./prep_dataset", "./out.info", "224", "224")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.info").read_text() == (
        "0 ./prep_dataset/a.bin 224 224\n"
        "1 ./prep_dataset/b.bin 224 224\n"
        "2 ./prep_dataset/c.bin 224 224\n"
    )
    assert done.stdout.startswith("OK: 3 files listed in ")
    assert "-> out.info; the folder has no record, so its content is unverified" in done.stdout
    content = record.load(tmp_path / "out.info")
    assert content is not None
    assert content["status"] == "complete"
    assert content["counts"] == {"given": 3, "done": 3, "passed_over": 1}


def test_an_input_is_never_written_over_by_its_own_listing(tmp_path: Path) -> None:
    make_bins(tmp_path / "prep")
    before = (tmp_path / "prep" / "a.bin").read_bytes()
    done = get_info(tmp_path, "bin", "prep", "./prep/a.bin", "224", "224")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "prep/a.bin is the input prep/a.bin itself" in done.stderr
    assert (tmp_path / "prep" / "a.bin").read_bytes() == before


def test_jpegs_are_listed_with_their_own_size_and_the_index_runs_through(tmp_path: Path) -> None:
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for name, size in (("d.jpg", (30, 20)), ("c.JPEG", (10, 40)), ("a.JPG", (7, 7))):
        (folder / name).write_bytes(jpeg(noise(*size)))
    noise(9, 8).save(folder / "b.jpeg", "PNG")
    noise(9, 8).save(folder / "e.png")
    done = get_info(tmp_path, "jpg", "my pictures/", "out.info")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.info").read_text() == (
        "0 my pictures/a.JPG 7 7\n"
        "1 my pictures/b.jpeg 9 8\n"
        "2 my pictures/c.JPEG 10 40\n"
        "3 my pictures/d.jpg 30 20\n"
    )
    assert read_info(tmp_path / "out.info")[0].path == "my pictures/a.JPG"


def test_size_of_a_jpeg_needs_its_header_only(tmp_path: Path) -> None:
    whole = jpeg(noise(200, 150))
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    assert get_info(tmp_path, "jpg", ".", "out.info").returncode == 0
    assert (tmp_path / "out.info").read_text() == "0 ./half.jpg 200 150\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "the following arguments are required: MODE, DIR, OUT"),
        ("bins d o 224 224", "'bins' is not one of bin, jpg (did you mean bin?)"),
        ("bin d o", "bin needs five arguments: bin DIR OUT W H"),
        ("bin d o 224", "bin needs five arguments: bin DIR OUT W H"),
        ("bin d o 224 0", "0 is not a whole number from 1"),
        ("bin d o 224 x", "'x' is not a whole number"),
        ("bin d o 224 224 3", "unknown argument: 3"),
        ("jpg d o 224 224", "jpg takes three arguments"),
        ("bin d o 224 224 --verbos", "did you mean --verbose?"),
    ],
)
def test_wrong_arguments_are_said_in_one_line(tmp_path: Path, arguments: str, said: str) -> None:
    done = get_info(tmp_path, *arguments.split())
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("missing", "d does not exist"),
        ("file", "d is no folder"),
        ("nothing", "d holds no .bin file; first run: vovnet_torch_preprocess.py"),
        ("mixed", "odd.bin has 150528 bytes where most files have 602112"),
        ("empty", "the .bin files in d are empty"),
        ("running", "d is not whole: its record says running; run vovnet_torch_preprocess.py"),
        ("died", "d is not whole: its record says failed"),
        ("removed", "d is not what its record says: it holds 3 files, and held 4"),
        ("added", "d is not what its record says: it holds 3 files, and held 2; run vovnet_torch"),
        ("changed", "of its 3 files some were changed since; run vovnet_torch_preprocess.py again"),
        ("stage", "d was made by the stage benchmark, not by preprocess"),
        ("count", "d holds 3 .bin files, and its record counts 4"),
        ("sums", "the counts in d.record.json do not add up"),
        ("garbage", "d.record.json is not a record of this version"),
        ("newline", r"'d/two\nlines.bin' cannot stand in an info file"),
    ],
)
def test_unfit_folder_is_refused_and_an_old_info_file_kept(
    tmp_path: Path, case: str, said: str
) -> None:
    folder = tmp_path / "d"
    (tmp_path / "out.info").write_text("old")
    if case == "file":
        folder.write_text("")
    elif case != "missing":
        make_bins(folder, "" if case == "nothing" else "a b c", 0 if case == "empty" else 602_112)
    if case == "mixed":
        make_bins(folder, "odd", 150_528)
    elif case == "running":
        mark(folder, status="running")
    elif case == "died":
        mark(folder, status="failed", counts={})
    elif case == "removed":
        make_bins(folder, "lost")
        mark(folder)
        (folder / "lost.bin").unlink()
    elif case == "added":
        (folder / "c.bin").rename(tmp_path / "c.bin")
        mark(folder)
        (tmp_path / "c.bin").rename(folder / "c.bin")
    elif case == "changed":
        mark(folder)
        os.utime(folder / "b.bin", ns=(1, 1))
    elif case == "stage":
        mark(folder, stage="benchmark")
    elif case == "count":
        mark(folder, counts={"given": 4, "done": 4})
    elif case == "sums":
        mark(folder, counts={"given": 5, "done": 3, "refused": 1})
    elif case == "garbage":
        record.path_of(folder).write_text("{")
    elif case == "newline":
        (folder / "two\nlines.bin").write_bytes(bytes(602_112))
    done = get_info(tmp_path, "bin", "d", "out.info", "224", "224")
    assert done.returncode == 1
    assert said in done.stderr.replace("\\\\n", "\\n")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "out.info").read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_refused_images_are_remarked_and_the_good_ones_listed(tmp_path: Path) -> None:
    make_bins(tmp_path / "d")
    mark(tmp_path / "d", status="complete", good=False, counts={"refused": 2})
    done = get_info(tmp_path, "bin", "d", "out.info", "224", "224")
    assert done.returncode == 0
    assert "2 images are missing, refused as d.record.json says" in done.stdout


def test_complete_record_leaves_nothing_to_remark(tmp_path: Path) -> None:
    for size in (602_112, 150_528):
        make_bins(tmp_path / "d", size=size)
        mark(tmp_path / "d", status="complete")
        done = get_info(tmp_path, "bin", "d", "out.info", "224", "224")
        assert done.returncode == 0
        assert done.stdout.endswith("-> out.info\n")


def test_info_file_inside_the_folder_that_it_lists_is_refused_where_that_has_a_record(
    tmp_path: Path,
) -> None:
    make_bins(tmp_path / "d")
    assert get_info(tmp_path / "d", "bin", ".", "out.info", "224", "224").returncode == 0
    (tmp_path / "d" / "out.info").unlink()
    record.path_of(tmp_path / "d" / "out.info").unlink()
    mark(tmp_path / "d")
    done = get_info(tmp_path / "d", "bin", ".", "out.info", "224", "224")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "out.info would lie in the folder that it lists" in done.stderr


def test_folder_whose_name_leaves_no_room_for_a_record_is_listed_unverified(
    tmp_path: Path,
) -> None:
    name = "d" * 250
    make_bins(tmp_path / name)
    done = get_info(tmp_path, "bin", name, "out.info", "224", "224")
    assert done.returncode == 0, done.stderr
    assert "the folder has no record, so its content is unverified" in done.stdout


def test_unexpected_size_is_remarked(tmp_path: Path) -> None:
    make_bins(tmp_path / "d", size=1000)
    done = get_info(tmp_path, "bin", "d", "out.info", "224", "224")
    assert done.returncode == 0
    assert "each file has 1000 bytes, which is neither 150528 (uint8) nor 602112" in done.stdout


def test_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    write_broken_pictures(tmp_path / "d")
    done = get_info(tmp_path, "jpg", "d", "out.info")
    assert done.returncode == 1
    assert "d/bad_empty.jpg is no picture: no picture of a known format" in done.stderr
    assert not (tmp_path / "out.info").exists()


def read(tmp_path: Path, content: bytes) -> list[InfoLine]:
    path = tmp_path / "x.info"
    path.write_bytes(content)
    return read_info(path)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"0 ./a.bin 224 224\n", [InfoLine(0, "./a.bin", 224, 224)]),
        (b"0\t./a b  c.bin\t224   224\r\n\n", [InfoLine(0, "./a b  c.bin", 224, 224)]),
        (b"0 a 1 2\n0 b 3 4", [InfoLine(0, "a", 1, 2), InfoLine(0, "b", 3, 4)]),
        (b"7 1 2 3 4\n", [InfoLine(7, "1 2", 3, 4)]),
        (b"0 \xff.jpg 3 4\n", [InfoLine(0, "\udcff.jpg", 3, 4)]),
    ],
)
def test_lines_are_read(tmp_path: Path, content: bytes, lines: list[InfoLine]) -> None:
    assert read(tmp_path, content) == lines


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "x.info lists no input"),
        (b"0 a 1 2\nnonsense\n", "x.info:2: not four fields"),
        (b"0 ./bert_bin/input_ids_0.bin\n", "x.info:1: not four fields"),
        (b"0 a 224\n", "x.info:1: not four fields"),
        (b"x a 1 2\n", "'x' is no whole number"),
        (b"-1 a 1 2\n", "'-1' is no whole number"),
        (b"0 a 1 2.5\n", "'2.5' is no whole number"),
        (b"0 a 0 2\n", "a width or height of 0"),
        (b"0 a 99999999999 2\n", "is no whole number"),
    ],
)
def test_wrong_info_line_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(PipelineError) as caught:
        read(tmp_path, content)
    assert said in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1), st.integers(1, 10**6), st.integers(1, 10**6))
def test_written_lines_read_back_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], width: int, height: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "round.info"
    lines = [InfoLine(index, path, width, height) for index, path in enumerate(paths)]
    try:
        write_info(file, lines)
    except PipelineError as error:
        assert "cannot stand in an info file" in str(error)
    else:
        assert read_info(file) == lines


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    try:
        lines = read(tmp_path_factory.getbasetemp(), content)
    except PipelineError as error:
        assert "\n" not in str(error)
    else:
        assert lines
