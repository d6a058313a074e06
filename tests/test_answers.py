"""What was answered to each image: the best classes, their shares, and where the label stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline import answers, scoring
from pipeline.errors import PipelineError
from tests import dumps


@pytest.mark.parametrize("outputs", [1000, 1001])
@pytest.mark.parametrize("binary", [False, True])
def test_answers_are_those_of_plain_sorting(tmp_path: Path, outputs: int, binary: bool) -> None:
    scores, labels = dumps.make_case(tmp_path, outputs=outputs, binary=binary)
    found = answers.read(tmp_path / "dumps", tmp_path / "labels.txt")
    assert found.classes == outputs
    assert found.labels.tolist() == labels.tolist()
    hits = [round(found.accuracy(top) * dumps.IMAGES) for top in range(1, 6)]
    assert hits == dumps.expected(scores, labels)
    for row, own, shares in zip(scores, found.best, found.shares, strict=True):
        best = sorted(zip(-row, range(len(row)), strict=True))[:5]
        assert own.tolist() == [place for _, place in best]
        exponents = np.exp(row.astype(np.float64))
        assert shares == pytest.approx(exponents[own] / exponents.sum(), rel=1e-5)
    assert found.right.tolist() == [rank == 0 for rank in found.ranks]


def test_scores_that_are_probabilities_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "dumps").mkdir()
    row = np.array([0.5, 0.125, 0.375], np.float32)
    dumps.write_dump(tmp_path, "a", row)
    (tmp_path / "labels.txt").write_text("a.jpg 1\n")
    found = answers.read(tmp_path / "dumps", tmp_path / "labels.txt")
    assert found.best.tolist() == [[0, 2, 1]]
    assert found.shares.tolist() == [[0.5, 0.375, 0.125]]
    assert found.ranks.tolist() == [2]


def test_the_class_beside_imagenet_is_counted_before_the_first(tmp_path: Path) -> None:
    dumps.make_case(tmp_path, outputs=1001, images=1)
    row = np.zeros(1001, np.float32)
    row[0] = 1
    (place,) = (tmp_path / "dumps").iterdir()
    place.unlink()
    dumps.write_dump(tmp_path, "ILSVRC2012_val_00000001", row)
    found = answers.read(tmp_path / "dumps", tmp_path / "labels.txt")
    assert found.best[0].tolist() == [-1, 0, 1, 2, 3]


def test_not_a_number_comes_last_and_infinity_first() -> None:
    scores = np.array([[np.nan, 1, np.inf, 1, -np.inf]], np.float32)
    assert answers.best_classes(scores, 5).tolist() == [[2, 1, 3, 4, 0]]


def test_an_image_without_a_label_is_refused_by_name(tmp_path: Path) -> None:
    dumps.make_case(tmp_path, images=3)
    text = (tmp_path / "labels.txt").read_text()
    (tmp_path / "labels.txt").write_text(text.split("\n", 1)[1])
    with pytest.raises(PipelineError, match="no label for ILSVRC2012_val_00000001"):
        answers.read(tmp_path / "dumps", tmp_path / "labels.txt")


@given(
    arrays.arrays(
        np.float32, (3, 7), elements=st.sampled_from([-1.5, 0.0, -0.0, 0.25, 3.0, np.inf, np.nan])
    ),
    st.integers(0, 6),
)
def test_the_rank_of_a_class_is_its_place_among_the_best(
    scores: np.ndarray[tuple[int, int], np.dtype[np.float32]], label: int
) -> None:
    best = answers.best_classes(scores, 7)
    ranks, _ = scoring.ranks(scores, np.full(3, label))
    for row in range(3):
        if not np.isnan(scores[row, label]):
            assert best[row].tolist().index(label) == ranks[row]
