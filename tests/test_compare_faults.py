"""`compare` where names are hostile, files odd and command lines wrong; its other forms."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from pipeline import scoring
from pipeline.formats import dump, perf
from pipeline.imagenet import labels as label_files
from tests.compare_works import (
    IMAGES,
    compared,
    make,
    names,
    nudged,
    rows_of,
    run,
    some_scores,
    two_works,
)
from tests.conftest import PROJECT


@pytest.fixture
def works(tmp_path: Path) -> tuple[Path, Path]:
    return two_works(tmp_path)


def test_markdown_holds_the_tables_and_no_markup_of_names(tmp_path: Path) -> None:
    scores, labels = some_scores()
    odd = [f"<b>|*{n}*|`[x](y)" for n in range(IMAGES)]
    a = make(tmp_path / "a", scores, labels, images=odd)
    b = make(tmp_path / "b", nudged(scores, [3], 0 if labels[3] else 1), labels, images=odd)
    out = tmp_path / "out.md"
    assert run(a, b, "--out", out, "--max-drop", "100").returncode == 0
    text = out.read_text()
    assert text.startswith("**OK: Top1 of B at batch 1 ")
    for title in ("settings that differ", "accuracy", "speed", "answers of B that are not A's"):
        assert f"\n### {title}" in text
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert "<b>" not in html and "<a " not in html and "<em>" not in html
    tables = [
        [
            [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
            for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        ]
        for table in re.findall(r"<table>(.*?)</table>", html, re.DOTALL)
    ]
    widths = [[len(row) for row in table] for table in tables]
    assert widths == [[3] * 3, [8] * 3, [9] * 3, [10] * 3, [7] * 2]
    assert tables[4][1][:2] == ["right -> wrong", odd[3]]
    assert tables[0][1] == ["A", str(a), "1"]
    right = int((scores.argmax(1) == labels).sum())
    top1 = [f"{100 * hits / IMAGES:.2f} %" for hits in (right, right - 1)]
    assert [row[3] for row in tables[1][1:]] == top1


@pytest.mark.parametrize(
    "name", ["a b\nc", "ünï", os.fsdecode(b"caf\xe9"), "[red]x[/red]", "-dash", "a'\"$x"]
)
def test_hostile_names_of_folders_and_images_are_shown_escaped(name: str, tmp_path: Path) -> None:
    scores, labels = some_scores(images=6)
    images = [f"{os.fsdecode(bytes([0xE9]))}[b]{n}" for n in range(6)]
    a = make(tmp_path / name, scores, labels, images=images)
    b = make(tmp_path / "b", np.roll(scores, 1, axis=1), labels, images=images)
    done = run(a, b, "--out", tmp_path / f"{name}.json", "--out", tmp_path / f"{name}.md")
    assert done.returncode == 0, done.stderr
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(a))
    assert shown in done.stdout
    assert "\\udce9[b]3" in done.stdout
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert found["sides"][0]["given"] == str(a)
    flips = found["comparisons"][0]["accuracy"][0]["matched"]["flips"]
    assert {flip["image"] for flip in flips} == set(images)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "give from 2 to 26 runs to compare, not 1"),
        (["a", "b", "--max-drop", "nan"], "'nan' is not a number from 0 to 100"),
        (["a", "b", "--max-slowdown", "-1"], "'-1' is not a number from 0 to 100"),
        (["a", "b", "--max-slodown", "1"], "did you mean --max-slowdown?"),
        (["a", "b", "--out", "x.html"], "'x.html' ends in neither .json nor .md"),
        (["a", "b", "--batch-size", "0"], "0 is not a whole number from 1 to 9999"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_code_2(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_cannot_be_read_or_written_is_one_line_and_leaves_nothing(
    works: tuple[Path, Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "new.json"
    labels = works[0] / "labels.txt"
    strange = works[0] / "strange.json"
    strange.symlink_to(works[1] / "result_bs1.json")
    for arguments, said in (
        ((works[0], empty), "holds neither a score"),
        ((works[0], tmp_path / "none"), "is neither a folder nor a file"),
        ((works[0], labels), "is neither a score nor a speed of a run"),
        ((works[0], works[1], "--out", tmp_path / "no" / "x.json"), "does not exist"),
        ((works[0], works[1], "--out", strange), "is the input"),
    ):
        done = run(*arguments, *(() if "--out" in arguments else ("--out", out)))
        assert (done.returncode, done.stdout) == (1, ""), said
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert not out.exists()


def test_a_gate_that_fails_still_writes_what_it_found(works: tuple[Path, Path]) -> None:
    worse = works[1]
    found = compared(*works, "--max-slowdown", "0", "--max-drop", "100")
    assert found["good"] is True
    place = worse / "result" / perf.perf_name("vision", 1, 0)
    place.write_text(place.read_text().replace("100", "50"))
    found = compared(*works, "--max-slowdown", "10", code=1)
    assert found["good"] is False
    assert found["verdict"].startswith("FAILED: the Interface rate of B")
    assert found["gate"]["max_slowdown_percent"] == 10


def test_odd_files_in_a_work_folder_are_left_out_and_said(works: tuple[Path, Path]) -> None:
    (works[0] / "result_odd.json").write_text("[" * 100_000)
    (works[0] / "result" / "perf_vision_batchsize_4_device_3.txt").write_text("nonsense")
    (works[0] / "x.record.json").write_text("{")
    done = run(*works)
    assert done.returncode == 0, done.stderr
    doubts = rows_of(done, "compared")[3:]
    assert any("perf_vision_batchsize_4_device_3.txt is left out" in line for line in doubts)
    assert any("x.record.json is not a record of this version" in line for line in doubts)


def test_three_folders_stand_beside_the_first(tmp_path: Path) -> None:
    scores, labels = some_scores()
    for name, rows in (("a", []), ("b", [1]), ("c", [1, 2, 3])):
        answer = nudged(scores, rows, 0) if rows else scores
        make(tmp_path / name, answer, labels)
    done = run(*(tmp_path / name for name in "abc"))
    assert done.returncode == 0, done.stderr
    lines = [line.split()[:2] for line in rows_of(done, "accuracy")[1:]]
    assert lines == [["1", "A"], ["1", "B"], ["1", "C"]]
    assert "answers of B that are not A's, batch 1: " in done.stdout
    assert "answers of C that are not A's, batch 1: " in done.stdout


def test_fifty_thousand_images_are_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(50_000, 10)).astype(np.float32)
    labels = rng.integers(0, 10, 50_000).tolist()
    images = names(50_000)
    for name in "ab":
        dumps = tmp_path / name / "result" / "dumpOutput_device0"
        dumps.mkdir(parents=True)
        np.save(dumps / dump.array_name(1), scores if name == "a" else scores + np.float32(0.01))
        (dumps / dump.NAMES_FILE).write_text("".join(f"{image}\n" for image in images))
        label_files.write_labels(tmp_path / name / "labels.txt", zip(images, labels, strict=True))
        with contextlib.chdir(tmp_path / name):
            scoring.score_to_file(
                Path("result/dumpOutput_device0"), Path("labels.txt"), Path("result.json"), 50_000
            )
    found = compared(tmp_path / "a", tmp_path / "b")["comparisons"][0]["accuracy"][0]["matched"]
    assert found["images"] == found["same_answers"] == 50_000
    assert found["sqnr_db"] == pytest.approx(40, abs=0.1)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['x', 'compare', '--help']\n"
        "from pipeline.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'rich', 'torch', 'onnxruntime'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--max-slowdown PERCENT" in done.stdout
