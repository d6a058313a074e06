"""Runs side by side, through the command line, against figures reckoned here by hand."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from numpy.typing import NDArray

from pipeline import identity, record, scoring
from pipeline.formats import dump, perf, result
from pipeline.imagenet import labels as label_files
from tests.conftest import PROJECT

Scores = NDArray[np.float32]
CLASSES = 7
IMAGES = 40
DIGEST = "5e" * 32
MACHINE = {"processor": "A Processor", "usable_cores": 2, "load_average_1min": 0.1}
QUOTABLE = {"verdict": "QUOTABLE", "reasons": []}


def run(*arguments: str | Path, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "compare", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )


def compared(*arguments: str | Path, code: int = 0) -> Any:
    """Return the JSON of a comparison, and see that it ended with `code`."""
    out = Path(str(arguments[0])).parent / "compared.json"
    done = run(*arguments, "--out", out)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(out.read_text())


def names(count: int = IMAGES) -> list[str]:
    return [f"ILSVRC2012_val_{n + 1:08d}" for n in range(count)]


def some_scores(seed: int = 5, images: int = IMAGES) -> tuple[Scores, list[int]]:
    """Return scores of which the label has the highest in about half of the images."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, images)
    scores = rng.normal(size=(images, CLASSES)).astype(np.float32)
    scores[np.arange(images), labels] += 1
    return scores, labels.tolist()


def make(
    work: Path,
    scores: Scores,
    labels: Sequence[int],
    *,
    images: Sequence[str] = (),
    batch: int = 1,
    device: int = 0,
    rate: float | None = 100.0,
    quotable: Any = QUOTABLE,
    chain: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Make a run in a work folder: dumps, label file, score and, with a rate, a speed."""
    images = images or names(len(scores))
    dumps = work / "result" / f"dumpOutput_device{device}"
    dumps.mkdir(parents=True)
    for image, row in zip(images, scores, strict=True):
        (dumps / dump.dump_name(image, 1, True)).write_bytes(row.tobytes())
    if not (work / "labels.txt").exists():
        pairs = [(f"{image}.JPEG", int(label)) for image, label in zip(images, labels, strict=True)]
        label_files.write_labels(work / "labels.txt", pairs)
    made: dict[str, Any] = {
        "schema": record.SCHEMA,
        "stage": "benchmark",
        "status": "complete",
        "settings": {"batch_size": batch, "device": device, "form": "binary"},
        "code_sha256": DIGEST,
        "versions": {"numpy": "2.0"},
        "outputs": [identity.fingerprint(dumps)],
        "counts": {"samples": len(scores), "dumped": len(scores), "outputs_per_sample": 1},
        "peak_memory_bytes": {"process": 200 << 20},
        "details": {
            "machine": MACHINE,
            "quotable": quotable,
            "latencies_us": [1000 * n for n in range(1, 101)],
            "chain": {"verified": True, "doubts": [], **(chain or {})},
            **(details or {}),
        },
    }
    if rate:
        place = work / "result" / perf.perf_name("vision", batch, device)
        figures = [rate if "rate" in name else 1 for name in perf.DatasetPerf.__annotations__]
        place.write_text(perf.to_text(perf.DatasetPerf(*figures)))
        made["outputs"].append(identity.fingerprint(place))
        record.path_of(place).write_text(json.dumps(made))
    record.path_of(dumps).write_text(json.dumps(made))
    with contextlib.chdir(work):
        scoring.score_to_file(
            Path("result", dumps.name), Path("labels.txt"), Path(f"result_bs{batch}.json")
        )
    return work


def nudged(scores: Scores, rows: Sequence[int], answer: int) -> Scores:
    """Return scores by which `answer` is the answer to the images `rows`."""
    other = scores.copy()
    other[list(rows), answer] = scores.max() + 2
    return other


def rows_of(done: subprocess.CompletedProcess[str], title: str) -> list[str]:
    """Return the lines below a title, up to the empty one."""
    lines = done.stdout.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(title))
    return lines[start + 1 : lines.index("", start)]


@pytest.fixture
def works(tmp_path: Path) -> tuple[Path, Path]:
    """Two work folders whose answers, and nothing else, are not the same."""
    scores, labels = some_scores()
    rng = np.random.default_rng(8)
    noisy = scores + rng.normal(scale=0.5, size=scores.shape).astype(np.float32)
    return make(tmp_path / "a", scores, labels), make(tmp_path / "b", noisy, labels)


def test_a_run_beside_itself_differs_in_nothing(works: tuple[Path, Path]) -> None:
    done = run(works[0], works[0], "--max-drop", "0", "--max-slowdown", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert rows_of(done, "settings that differ")[0] == "nothing, as far as the records tell"
    assert "answers of B that are not A's, batch 1: none" in done.stdout
    assert rows_of(done, "changes of accuracy")[1].split()[-1] == "identical"
    assert done.stdout.splitlines()[-1].startswith("OK: Top1 of B at batch 1 is the same")


def test_accuracy_and_its_interval_are_those_reckoned_by_hand(works: tuple[Path, Path]) -> None:
    found = compared(*works)["comparisons"][0]["accuracy"][0]["matched"]
    scores, labels = some_scores()
    noisy = scores + np.random.default_rng(8).normal(scale=0.5, size=scores.shape).astype("f4")
    for top in range(1, 6):
        right = [
            np.array(
                [label in np.argsort(-row)[:top] for row, label in zip(s, labels, strict=True)]
            )
            for s in (scores, noisy)
        ]
        entry = found["top"][top - 1]
        assert entry["fractions"] == [one.sum() / IMAGES for one in right]
        won, lost = (int((x & ~y).sum()) for x, y in (right[::-1], right))
        assert (entry["won"], entry["lost"]) == (won, lost)
        assert entry["change_points"] == pytest.approx(100 * (won - lost) / IMAGES)
        # Agresti and Min: half a pair more in each of the four cells.
        p12, p21, n = (won + 0.5) / (IMAGES + 2), (lost + 0.5) / (IMAGES + 2), IMAGES + 2
        reach = 1.959964 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / n)
        ends = [100 * (p12 - p21 - reach), 100 * (p12 - p21 + reach)]
        assert entry["change_95_points"] == pytest.approx(ends, rel=1e-5)
    assert found["top"][0]["won"] and found["top"][0]["lost"]
    signal, noise = (scores.astype(float) ** 2).sum(), ((scores - noisy).astype(float) ** 2).sum()
    assert found["sqnr_db"] == pytest.approx(10 * math.log10(signal / noise), rel=1e-6)
    same = (scores.argmax(1) == noisy.argmax(1)).sum()
    assert (found["same_answers"], found["agreement_fraction"]) == (same, same / IMAGES)


def test_each_flip_is_there_with_both_answers_the_most_confident_first(
    works: tuple[Path, Path],
) -> None:
    found = compared(*works)["comparisons"][0]["accuracy"][0]["matched"]["flips"]
    scores, labels = some_scores()
    noisy = scores + np.random.default_rng(8).normal(scale=0.5, size=scores.shape).astype("f4")
    shares = [
        np.exp(s.astype(float)) / np.exp(s.astype(float)).sum(1)[:, None] for s in (scores, noisy)
    ]
    expected = []
    for row, (image, label) in enumerate(zip(names(), labels, strict=True)):
        was, now = int(scores[row].argmax()), int(noisy[row].argmax())
        if was != now:
            kind = "right -> wrong" if was == label else "wrong -> right" if now == label else ""
            expected.append(
                (kind or "wrong -> other", -shares[1][row].max(), image, label, was, now)
            )
    kinds = ["right -> wrong", "wrong -> right", "wrong -> other"]
    expected.sort(key=lambda flip: (kinds.index(flip[0]), flip[1]))
    keys = ("kind", "image", "label", "base_answer", "other_answer")
    assert [tuple(flip[key] for key in keys) for flip in found] == [
        (flip[0], *flip[2:]) for flip in expected
    ]
    assert {flip["kind"] for flip in found} == set(kinds)
    for flip in found:
        row = names().index(flip["image"])
        assert flip["base_probability"] == pytest.approx(shares[0][row].max())
        assert flip["other_probability"] == pytest.approx(shares[1][row].max())


def test_the_screen_shows_so_many_flips_of_each_kind_and_says_how_many_are_left(
    works: tuple[Path, Path],
) -> None:
    flips = compared(*works)["comparisons"][0]["accuracy"][0]["matched"]["flips"]
    for most in (0, 1, 1000):
        lines = rows_of(run(*works, "--flips", str(most)), "answers of B that are not A's")
        shown = [line for line in lines if " -> " in line]
        assert len(shown) == min(3 * most, len(flips))
        left = len(flips) - len(shown)
        assert (lines[-1] == f"{left} more, in --out FILE.json") == bool(left)


def test_what_is_not_the_same_in_the_records_is_shown_and_nothing_else(tmp_path: Path) -> None:
    scores, labels = some_scores()
    model = {
        "path": "net.onnx",
        "sha256": "ab" * 32,
        "stage": "export",
        "settings": {"opset": 11, "arch": "v"},
    }
    renamed = model | {"path": "other_name.onnx"}
    int8 = {
        "path": "net8.onnx",
        "sha256": "cd" * 32,
        "stage": "export",
        "settings": {"opset": 13, "arch": "v"},
    }
    prepared = [{"settings": {"resize": 256, "crop": 224}}], [{"settings": {"resize": 232}}]
    for name, found, folders, more in (
        ("a", model, prepared[0], {"effective_precision": "fp32", "threads": 2}),
        ("b", renamed, prepared[0], {"effective_precision": "fp32", "threads": 2}),
        ("c", int8, prepared[1], {"effective_precision": "int8", "threads": 4}),
    ):
        links = {"model": found, "folders": folders}
        details = {"engine": "an engine", **more}
        make(tmp_path / name, scores, labels, chain=links, details=details)
    same = compared(tmp_path / "a", tmp_path / "b")["settings"]
    assert (same["differing"], same["not_known_of_all"]) == ([], [])
    found = compared(tmp_path / "a", tmp_path / "c")["settings"]
    assert {one["name"]: one["texts"] for one in found["differing"]} == {
        "model": ["net.onnx (abababababab)", "net8.onnx (cdcdcdcdcdcd)"],
        "export opset": ["11", "13"],
        "precision": ["fp32", "int8"],
        "threads": ["2", "4"],
        "preprocessing resize": ["256", "232"],
    }
    assert [one["name"] for one in found["not_known_of_all"]] == ["preprocessing crop"]
    lines = rows_of(run(tmp_path / "a", tmp_path / "c"), "settings that differ")
    assert lines[0].split() == ["setting", "A", "B"]
    assert lines[-1] == "not known of all: preprocessing crop"


def test_a_quantised_model_is_followed_back_to_its_export_and_checkpoint(tmp_path: Path) -> None:
    scores, labels = some_scores()
    checkpoint = {"path": "net.pth", "sha256": "01" * 32}
    fp32 = {"path": "net.onnx", "sha256": "02" * 32}
    export = {"opset": 11}
    first = fp32 | {"stage": "export", "settings": export, "made_of": [checkpoint]}
    second = {
        "path": "net8.onnx",
        "sha256": "03" * 32,
        "stage": "quantize",
        "settings": {"method": "minmax", "judged": True},
        "made_of": [fp32],
    }
    make(tmp_path / "a", scores, labels, chain={"model": first})
    b = make(tmp_path / "b", scores, labels, chain={"model": second})
    exported = {
        "schema": record.SCHEMA,
        "stage": "export",
        "settings": export,
        "inputs": [checkpoint],
        "outputs": [fp32],
    }
    (b / "net.onnx.record.json").write_text(json.dumps(exported))
    found = compared(tmp_path / "a", b)["settings"]
    assert {one["name"]: one["texts"] for one in found["differing"]} == {
        "model": ["net.onnx (020202020202)", "net8.onnx (030303030303)"],
        "model made by": ["export", "quantize"],
        "quantize method": ["-", "minmax"],
    }
    assert found["not_known_of_all"] == []


def test_a_side_has_several_values_where_its_runs_do_not_agree(tmp_path: Path) -> None:
    scores, labels = some_scores()
    for name, threads in (("a", (2, 4)), ("b", (2, 2))):
        for device, count in enumerate(threads):
            batch = 1 + 15 * device
            more = {"threads": count}
            make(tmp_path / name, scores, labels, batch=batch, device=device, details=more)
    found = compared(tmp_path / "a", tmp_path / "b")["settings"]["differing"]
    assert [(one["name"], one["texts"]) for one in found] == [("threads", ["2 / 4", "2"])]


def test_speeds_stand_by_batch_size_and_their_ratio_says_when_it_is_a_hint(tmp_path: Path) -> None:
    scores, labels = some_scores()
    smoke = {"verdict": "SMOKE", "reasons": ["too short"]}
    for name, rates, second in (("a", (10.0, 40.0), QUOTABLE), ("b", (25.0, 30.0), smoke)):
        make(tmp_path / name, scores, labels, rate=rates[0])
        make(tmp_path / name, scores, labels, rate=rates[1], batch=16, device=1, quotable=second)
    found = compared(tmp_path / "a", tmp_path / "b")["comparisons"][0]["speed"]
    assert [one["batch_sizes"] for one in found] == [[1, 1], [16, 16]]
    assert [one["interface_rate_ratio"] for one in found] == [2.5, 0.75]
    assert [one["e2e_rate_ratio"] for one in found] == [2.5, 0.75]
    assert [one["hint_only_because"] for one in found] == [[], ["SMOKE"]]
    assert found[0]["sides"][1]["peak_memory_bytes"] == 200 << 20
    assert found[0]["sides"][0]["p50_at_most_ms"] is not None
    lines = rows_of(run(tmp_path / "a", tmp_path / "b"), "speed")
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["1", "A"],
        ["1", "B"],
        ["16", "A"],
        ["16", "B"],
    ]
    assert [line.split()[-1] for line in lines[1:5]] == ["QUOTABLE"] * 3 + ["SMOKE"]
    assert "B, batch 16: the ratio is a hint only: SMOKE" in lines


def test_another_machine_is_said_and_its_load_is_none(tmp_path: Path) -> None:
    scores, labels = some_scores()
    make(tmp_path / "a", scores, labels)
    make(tmp_path / "b", scores, labels, details={"machine": MACHINE | {"load_average_1min": 3.0}})
    make(tmp_path / "c", scores, labels, details={"machine": MACHINE | {"processor": "Another"}})
    found = compared(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    doubts = [one["speed"][0]["hint_only_because"] for one in found["comparisons"]]
    assert doubts == [[], ["other machine"]]
    assert [one["name"] for one in found["settings"]["differing"]] == ["processor"]


@pytest.mark.parametrize(
    ("limit", "code"), [("2.5", 0), ("2.6", 0), ("2.4999", 1), ("0", 1), ("100", 0)]
)
def test_a_drop_up_to_the_limit_is_good(limit: str, code: int, tmp_path: Path) -> None:
    scores, labels = some_scores()
    scores = nudged(scores, [0], labels[0])
    worse = nudged(scores, [0], (labels[0] + 1) % CLASSES)  # one of 40 images: 2.5 points
    make(tmp_path / "a", scores, labels)
    make(tmp_path / "b", worse, labels)
    done = run(tmp_path / "a", tmp_path / "b", "--max-drop", limit)
    assert done.returncode == code, done.stdout
    last = done.stdout.splitlines()[-1]
    said = "falls by 2.5 points (95 % -8.94 to +4.18, Top5 +0.00, on 40 images)"
    word = "FAILED" if code else "OK"
    assert last.startswith(f"{word}: Top1 of B at batch 1 {said}, {float(limit):g} allowed; ")


@pytest.mark.parametrize(
    ("rates", "falls", "limit", "code"),
    [
        # Decimal figures; the quotient of these two as binary ones lies beyond the limit.
        ((10.3, 9.27), "10", "10", 0),
        ((10.3, 9.27), "10", "9.9999", 1),
        ((10.3, 9.27), "10", "0", 1),
        ((1000, 997), "0.3", "0.3", 0),  # and this limit as a binary one below what is lost
        ((1000, 997), "0.3", "0.29", 1),
    ],
)
def test_a_slowdown_up_to_the_limit_is_good(
    rates: tuple[float, float], falls: str, limit: str, code: int, tmp_path: Path
) -> None:
    scores, labels = some_scores()
    for name, rate in zip("ab", rates, strict=True):
        make(tmp_path / name, scores, labels, rate=rate)
    done = run(tmp_path / "a", tmp_path / "b", "--max-slowdown", limit)
    assert done.returncode == code, done.stdout
    last = done.stdout.splitlines()[-1]
    assert f"the Interface rate of B at batch 1 falls by {falls} %, {limit} allowed" in last


def test_the_worst_of_all_batch_sizes_and_sides_is_said(tmp_path: Path) -> None:
    scores, labels = some_scores()
    for name, rates in (("a", (100, 100)), ("b", (99, 60)), ("c", (70, 100))):
        make(tmp_path / name, scores, labels, rate=rates[0])
        make(tmp_path / name, scores, labels, rate=rates[1], batch=16, device=1)
    folders = [tmp_path / name for name in "abc"]
    done = run(*folders, "--max-slowdown", "20")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(
        "FAILED: the Interface rate of B at batch 16 falls by 40 %, 20 allowed; 1 more failed; "
    )
    for title in ("accuracy", "speed"):
        beside = [line.split()[:2] for line in rows_of(done, title)[1:7]]
        assert beside == [[batch, side] for batch in ("1", "16") for side in "ABC"]
    done = run(*folders, "--max-slowdown", "20", "--max-drop", "0")
    assert "Top1" not in done.stdout.splitlines()[-1]  # the limit that holds is no reason
    rulings = compared(*folders, "--max-slowdown", "20", code=1)["gate"]["rulings"]
    assert [one["good"] for one in rulings] == [True, False, False, True]
    assert compared(*folders, "--max-slowdown", "40")["good"] is True


def test_a_smoke_speed_is_judged_and_said_to_be_a_hint(tmp_path: Path) -> None:
    scores, labels = some_scores()
    make(tmp_path / "a", scores, labels)
    make(tmp_path / "b", scores, labels, quotable={"verdict": "SMOKE", "reasons": ["x"]})
    done = run(tmp_path / "a", tmp_path / "b", "--max-slowdown", "5")
    assert done.returncode == 0
    assert "5 allowed (a hint only: SMOKE)" in done.stdout.splitlines()[-1]


def test_a_limit_that_cannot_be_judged_fails_and_says_why(tmp_path: Path) -> None:
    scores, labels = some_scores()
    a, b = (
        make(tmp_path / name, scores, labels, rate=rate) for name, rate in (("a", 9), ("b", None))
    )
    done = run(a, b, "--max-slowdown", "5")
    assert done.returncode == 1
    assert f"cannot be judged: {b} has none at that batch size" in done.stdout.splitlines()[-1]
    done = run(b, a, "--max-slowdown", "5")
    assert done.returncode == 1
    assert f"the speed of B cannot be judged: {b} has no speed" in done.stdout.splitlines()[-1]
    d = make(tmp_path / "d", scores, labels)
    (d / "result_bs1.json").unlink()
    done = run(a, d, "--max-drop", "5")
    assert done.returncode == 1
    assert f"Top1 of B cannot be judged: {d} has no score" in done.stdout.splitlines()[-1]
    c = make(tmp_path / "c", scores, labels, images=[f"other_{n}" for n in range(IMAGES)])
    done = run(a, c, "--max-drop", "5")
    assert done.returncode == 1
    assert "have no image in common" in done.stdout.splitlines()[-1]


def test_images_that_one_side_lacks_are_left_out_and_counted(tmp_path: Path) -> None:
    scores, labels = some_scores()
    make(tmp_path / "a", scores, labels)
    order = [*range(5, 20), *range(21, 40)]
    worse = nudged(scores, [30], (labels[30] + 1) % CLASSES)
    # One of them comes between others, by its name.
    images = [*(names()[n] for n in order), f"{names()[9]}_more", "extra"]
    other = np.concatenate([worse[order], scores[:2]])
    make(tmp_path / "b", other, [*(labels[n] for n in order), *labels[:2]], images=images)
    found = compared(tmp_path / "a", tmp_path / "b")["comparisons"][0]["accuracy"][0]["matched"]
    assert (found["images"], found["left_out"], found["same_answers"]) == (34, [6, 2], 33)
    signal, noise = (np.square(s[order].astype(float)).sum() for s in (scores, worse - scores))
    assert found["sqnr_db"] == pytest.approx(10 * math.log10(signal / noise), rel=1e-6)
    right = sum(int(scores[n].argmax()) == labels[n] for n in order)
    now = right - (int(scores[30].argmax()) == labels[30])
    assert found["top"][0]["fractions"] == [right / 34, now / 34]
    (flip,) = found["flips"]
    assert flip["image"] == names()[30]
    shares = [
        np.exp(s[30].astype(float)) / np.exp(s[30].astype(float)).sum() for s in (scores, worse)
    ]
    probabilities = flip["base_probability"], flip["other_probability"]
    assert probabilities == pytest.approx([share.max() for share in shares])
    notes = rows_of(run(tmp_path / "a", tmp_path / "b"), "changes of accuracy")[3:]
    assert notes == [
        "B beside A: 6 images are left out, A alone has them",
        "B beside A: 2 images are left out, B alone has them",
    ]


def test_other_labels_are_said_and_each_side_is_held_against_its_own(tmp_path: Path) -> None:
    scores, labels = some_scores()
    make(tmp_path / "a", scores, labels)
    make(tmp_path / "b", scores, [(label + 1) % CLASSES for label in labels])
    found = compared(tmp_path / "a", tmp_path / "b", "--max-drop", "1", code=1)
    matched = found["comparisons"][0]["accuracy"][0]["matched"]
    assert (matched["relabelled"], matched["same_answers"], matched["flips"]) == (
        IMAGES,
        IMAGES,
        [],
    )
    assert [one["name"] for one in found["settings"]["differing"]] == ["labels"]
    done = run(tmp_path / "a", tmp_path / "b")
    assert f"B beside A: {IMAGES} images have other labels" in done.stdout
    make(tmp_path / "c", np.roll(scores, 1, axis=1), [(label + 1) % CLASSES for label in labels])
    right = int((scores.argmax(1) == labels).sum())
    done = run(tmp_path / "a", tmp_path / "c", "--max-drop", "0")
    assert done.returncode == 0  # right and wrong are the same images
    kinds = f"0 right -> wrong, 0 wrong -> right, {IMAGES - right} wrong -> other, {right} right ->"
    assert f"batch 1: {IMAGES} of {IMAGES} ({kinds} right)" in done.stdout


def test_dumps_that_are_gone_leave_the_scores_alone_to_be_judged(works: tuple[Path, Path]) -> None:
    before = compared(*works)["comparisons"][0]["accuracy"][0]["matched"]["top"][0]
    file = next((works[1] / "result" / "dumpOutput_device0").iterdir())
    file.unlink()
    entry = compared(*works)["comparisons"][0]["accuracy"][0]
    assert entry["matched"] is None
    assert "gone or others now" in entry["not_matched_because"]
    assert entry["top1_change_points_by_the_scores"] == pytest.approx(before["change_points"])
    drop = -before["change_points"]
    for limit, code in ((max(drop, 0), 0), (drop - 0.01, 1)):
        done = run(*works, "--max-drop", str(max(0, limit)))
        assert done.returncode == (code if limit >= 0 else 0)
        assert "(by the scores alone)" in done.stdout.splitlines()[-1]


def keep_score(work: Path, images: int, hits: int, labels: str = DIGEST) -> Path:
    """Leave of a work folder a score and its record, as one keeps them to compare with later."""
    work.mkdir()
    place = work / "result_bs16.json"
    place.write_text(result.to_text(images, 1000, [hits / images] * 5))
    made = {
        "schema": record.SCHEMA,
        "stage": "vision_metric_ImageNet",
        "status": "complete",
        "inputs": [{"path": "dumps"}, {"path": "val_label.txt", "sha256": labels}],
        "outputs": [identity.fingerprint(place)],
        "details": {"top": [round(hits / images, 6)]},
    }
    record.path_of(place).write_text(json.dumps(made))
    return work


def test_scores_alone_are_judged_to_the_image(tmp_path: Path) -> None:
    a, b = (keep_score(tmp_path / name, 50_000, n) for name, n in (("a", 38_000), ("b", 37_997)))
    for limit, code in (("0.006", 0), ("0.0059", 1)):  # 0.01 by the two digits of the result files
        done = run(a, b, "--max-drop", limit)
        assert done.returncode == code, done.stdout
        assert "falls by 0.006 points (by the scores alone)" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(("images", "labels"), [(49_999, DIGEST), (50_000, "17" * 32)])
def test_scores_alone_of_other_images_or_labels_are_not_judged(
    images: int, labels: str, tmp_path: Path
) -> None:
    a = keep_score(tmp_path / "a", 50_000, 38_000)
    b = keep_score(tmp_path / "b", images, 40_000, labels)
    done = run(a, b, "--max-drop", "5")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("FAILED: Top1 of B at batch 16 cannot be judged: ")
    assert "the scores are of other images or labels" in last


def test_the_guides_own_files_without_records_are_compared_as_far_as_they_go(
    works: tuple[Path, Path],
) -> None:
    for work in works[::-1]:
        for made in work.rglob(f"*{record.SUFFIX}"):
            made.unlink()
        (work / "result_bs1.json").rename(work / "result.json")
        if work is works[1]:  # without a record a speed is taken for one of a card's four chips
            assert "; one chip of 1 and of 4" in run(*works).stdout
    done = run(*works, "--max-drop", "50", "--max-slowdown", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has no record that names its dumps" in done.stdout
    assert "(by the scores alone)" in done.stdout.splitlines()[-1]
    assert "(a hint only: unknown; the machine is not known)" in done.stdout.splitlines()[-1]


def test_two_runs_of_one_folder_are_compared_by_their_files(tmp_path: Path) -> None:
    scores, labels = some_scores()
    work = make(tmp_path / "a", scores, labels, rate=10.0)
    make(work, scores, labels, rate=30.0, batch=16, device=1)
    first, second = work / "result_bs1.json", work / "result_bs16.json"
    found = compared(first, second)
    (one,) = found["comparisons"]
    assert one["accuracy"][0]["matched"]["same_answers"] == IMAGES
    assert one["speed"][0]["interface_rate_ratio"] == 3
    assert one["speed"][0]["hint_only_because"] == ["other batch size"]
    assert {one["name"] for one in found["settings"]["differing"]} == {"batch size"}
    done = run("result_bs1.json", "result/" + perf.perf_name("vision", 16, 1), folder=work)
    assert done.returncode == 0, done.stderr
    assert f"Top1 +0.00 points on {IMAGES} images" in done.stdout.splitlines()[-1]


def test_two_runs_of_one_batch_size_must_be_told_apart(tmp_path: Path) -> None:
    scores, labels = some_scores()
    work = make(tmp_path / "a", scores, labels)
    (work / "result_bs1.json").rename(work / "result_fp32_bs1.json")
    (work / "result_bs1.json.record.json").unlink()
    make(work, scores, labels, device=1)
    done = run(work, work)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has 2 scores of batch size 1: " in done.stderr
    assert done.stderr.count("\n") == 1
    assert run(work / "result_fp32_bs1.json", work / "result_bs1.json").returncode == 0


def test_accuracy_is_compared_where_no_batch_size_is_in_both_and_speed_is_not(
    tmp_path: Path,
) -> None:
    scores, labels = some_scores()
    make(tmp_path / "a", scores, labels)
    make(tmp_path / "b", scores, labels, batch=16, device=1)
    done = run(tmp_path / "a", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert "B beside A: scores of batch 16 and 1" in done.stdout
    assert "B beside A: no speed of one batch size in both" in done.stdout
    assert f"Top1 +0.00 points on {IMAGES} images" in done.stdout.splitlines()[-1]


def test_one_batch_size_of_folders_can_be_chosen(tmp_path: Path) -> None:
    scores, labels = some_scores()
    for name in "ab":
        make(tmp_path / name, scores, labels)
    make(tmp_path / "a", scores, labels, batch=16, device=1)
    folders = tmp_path / "a", tmp_path / "b"
    slower = make(tmp_path / "slower", scores, labels, rate=50)
    done = run(folders[0], slower, "--max-slowdown", "1")
    assert done.returncode == 1  # it has no speed at batch 16 either, which is worse
    last = done.stdout.splitlines()[-1]
    assert last.startswith("FAILED: the Interface rate of B at batch 16 cannot be judged: ")
    assert "; 1 more failed; " in last
    done = run(*folders, "--max-slowdown", "1", "--batch-size", "1")
    assert done.returncode == 0, done.stdout
    done = run(*folders, "--batch-size", "16")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{folders[1]} has no run of batch size 16; those there are of 1" in done.stderr
    done = run(folders[0] / "result_bs1.json", folders[1], "--batch-size", "1")
    assert done.returncode == 1
    assert "names one run already" in done.stderr


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
