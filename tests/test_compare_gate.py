"""The gate of `compare`: what may get worse by how much, and what cannot be judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compare_works import CLASSES, IMAGES, compared, make, nudged, rows_of, run, some_scores


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
