"""result.json: the guide's one line, character for character."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import result

PUBLISHED = (
    '{"title": "Overall statistical evaluation", "value": ['
    '{"key": "Number of images", "value": "50000"}, '
    '{"key": "Number of classes", "value": "1000"}, '
    '{"key": "Top1 accuracy", "value": "76.78%"}, '
    '{"key": "Top2 accuracy", "value": "86.6%"}, '
    '{"key": "Top3 accuracy", "value": "90.23%"}, '
    '{"key": "Top4 accuracy", "value": "92.22%"}, '
    '{"key": "Top5 accuracy", "value": "93.43%"}]}'
)


def test_published_result_is_written_and_read_character_for_character() -> None:
    fractions = [hits / 50000 for hits in (38390, 43300, 45115, 46110, 46715)]
    assert result.to_text(50000, 1000, fractions) == PUBLISHED
    assert result.from_text(PUBLISHED) == result.Result(
        50000, 1000, (76.78, 86.6, 90.23, 92.22, 93.43)
    )


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "0.0%"), (1, "100.0%"), (0.866, "86.6%"), (1 / 3, "33.33%"), (np.float32(0.5), "50.0%")],
)
def test_percentages_are_rounded_and_not_padded(fraction: float, text: str) -> None:
    entries = json.loads(result.to_text(3, 1, [fraction]))["value"]
    assert entries[-1] == {"key": "Top1 accuracy", "value": text}


@pytest.mark.parametrize(("classes", "tops"), [(1, 1), (3, 3), (5, 5), (1001, 5)])
def test_there_are_as_many_tops_as_classes_and_at_most_five(classes: int, tops: int) -> None:
    text = result.to_text(10, classes, [0.5] * 7)
    assert [e["key"] for e in json.loads(text)["value"]][2:] == [
        f"Top{place} accuracy" for place in range(1, tops + 1)
    ]
    assert len(result.from_text(text).percentages) == tops


@given(st.integers(1, 10**6), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_what_is_written_comes_back_in_two_decimals(images: int, fractions: list[float]) -> None:
    back = result.from_text(result.to_text(images, 1000, fractions))
    assert back == result.Result(images, 1000, tuple(round(f * 100, 2) for f in fractions))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"value": 3}',
        '{"value": [3]}',
        PUBLISHED[:-1],
        PUBLISHED.replace("50000", "many"),
        PUBLISHED.replace("Top3", "Top9"),
        PUBLISHED.replace("86.6%", "86.6"),
        PUBLISHED.replace('"86.6%"', "null"),
        "[" * 100_000,
    ],
)
def test_what_is_no_result_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it"):
        result.from_text(text)
