"""Runs side by side, through the command line, against figures reckoned here by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline import record
from tests.compare_works import (
    IMAGES,
    MACHINE,
    QUOTABLE,
    compared,
    make,
    names,
    rows_of,
    run,
    some_scores,
    two_works,
)


@pytest.fixture
def works(tmp_path: Path) -> tuple[Path, Path]:
    return two_works(tmp_path)


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
