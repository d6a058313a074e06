"""What stands on the sides of a comparison: runs of other images or labels, scores alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline import identity, record
from pipeline.formats import perf, result
from tests.compare_works import (
    CLASSES,
    DIGEST,
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


@pytest.fixture
def works(tmp_path: Path) -> tuple[Path, Path]:
    return two_works(tmp_path)


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
