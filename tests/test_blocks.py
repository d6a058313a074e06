"""Blocks of dumps: the fast way reads what the plain way reads, to the bit, or leaves it alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import scoring
from pipeline.formats import dump
from pipeline.formats.blocks import BinaryRows, TextRows
from tests.dumps import expected, make_case
from tests.test_dump import BITS, NEARLY_DUMPS, floats

needs_simdjson = pytest.mark.skipif(
    importlib.util.find_spec("simdjson") is None, reason="pysimdjson is not installed"
)


def read_text(folder: Path, texts: list[bytes], outputs: int) -> NDArray[np.float32] | None:
    paths = [str(folder / f"{number}.txt") for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        Path(path).write_bytes(text)
    return TextRows(len(texts) + 1, outputs).read(paths)


@needs_simdjson
@settings(deadline=None)
@given(st.lists(st.lists(BITS, min_size=3, max_size=3), min_size=1, max_size=5))
@example([[0x15AE43FD, 0, 0]])
def test_rows_of_text_are_the_written_float32_or_left_alone(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]]
) -> None:
    values = np.stack([floats(row) for row in rows])
    found = read_text(tmp_path_factory.getbasetemp(), [dump.to_text(row) for row in values], 3)
    if found is not None:
        assert found.tobytes() == values.tobytes()


@needs_simdjson
def test_ordinary_scores_go_the_fast_way(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(0, 3, (20, 1000)).astype(np.float32)
    found = read_text(tmp_path, [dump.to_text(row) for row in values], 1000)
    assert found is not None
    assert found.tobytes() == values.tobytes()


@needs_simdjson
@settings(deadline=None)
@given(st.one_of(st.binary(max_size=60), NEARLY_DUMPS), st.sampled_from([b"", b" ", b" \n", b"\n"]))
@example(b"1 [2", b"] \n")
@example(b"[1] 2", b" \n")
@example(b"1,2", b" \n")
@example(b"1 true", b" \n")
@example(b"1 100000000000000000000", b" \n")  # beyond 64 bits
@example(b"16777217 7.038531e-26", b" \n")
def test_any_bytes_are_left_alone_or_read_as_the_plain_way_does(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, end: bytes
) -> None:
    for outputs in (1, 2, 3):
        found = read_text(tmp_path_factory.getbasetemp(), [data + end], outputs)
        if found is not None:
            assert found[0].tolist() == dump.from_text(data + end).tolist()


@needs_simdjson
@pytest.mark.parametrize(
    "text",
    [
        b"1.0 2.0",  # nothing says that it is whole
        b"1.0 2.0 3.0 \n",
        b"1.0 \n",
        b"",
        b"1.0 nan \n",
        b"1.0 1e999 \n",
        b"1.0 16777217 \n",  # between two float32
        b"1.0 2." + b"0" * 100 + b" \n",
    ],
)
def test_what_is_not_plain_is_left_alone_and_the_next_file_is_not_disturbed(
    text: bytes, tmp_path: Path
) -> None:
    rows = TextRows(2, 2)
    odd, plain = tmp_path / "odd.txt", tmp_path / "plain.txt"
    odd.write_bytes(text)
    plain.write_bytes(b"1.5 -2.5 \n")
    assert rows.read([str(odd)]) is None
    found = rows.read([str(plain)])
    assert found is not None
    assert found.tolist() == [[1.5, -2.5]]


@pytest.mark.parametrize("size", [0, 4, 11, 13, 16])
def test_binary_file_of_another_length_is_left_alone(size: int, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(np.arange(3, dtype="<f4").tobytes())
    (tmp_path / "b.bin").write_bytes(bytes(size))
    rows = BinaryRows(2, 3)
    assert rows.read([str(tmp_path / "a.bin"), str(tmp_path / "b.bin")]) is None
    found = rows.read([str(tmp_path / "a.bin")])
    assert found is not None
    assert found.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("rows", [BinaryRows(1, 3), pytest.param(TextRows, marks=needs_simdjson)])
def test_file_that_cannot_be_read_is_named(
    rows: BinaryRows | type[TextRows], tmp_path: Path
) -> None:
    reader = rows if isinstance(rows, BinaryRows) else rows(1, 3)
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(OSError) as caught:
            reader.read([str(path)])
        assert caught.value.filename == str(path)


def test_scores_are_the_same_without_the_fast_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    scores, labels = make_case(tmp_path, images=30)
    found = scoring.score(tmp_path / "dumps", tmp_path / "labels.txt")
    assert list(found.hits) == expected(scores, labels)
