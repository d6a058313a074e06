"""Dumps as text: what is written comes back, and what is no dump is a ValueError."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.formats import dump

# A float32 whose fewest digits do not come back through float64.
DOUBLE_ROUNDED = float.fromhex("0x1.5c87fap-84")

BITS = st.one_of(
    st.integers(0, 2**32 - 1),
    st.integers(1, 2**23 - 1),  # subnormal
    st.integers(0x7F800001, 0x7FFFFFFF),  # not a number
    st.sampled_from([0, 1 << 31, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x00800000]),
)


def floats(bits: list[int]) -> NDArray[np.float32]:
    return np.array(bits, np.uint32).view(np.float32)


def nearest_float32(word: str) -> np.float32:
    """Round a decimal to float32 once, to even, by comparing exact fractions."""
    exact = Fraction(word)
    guess = np.float32(float(word))
    around = [
        guess,
        np.nextafter(guess, np.float32(-np.inf)),
        np.nextafter(guess, np.float32(np.inf)),
    ]
    finite = [value for value in around if np.isfinite(value)]
    return min(
        finite,
        key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.uint32)) & 1),
    )


@given(st.lists(BITS, min_size=1, max_size=40))
@example([0x15AE43FD])
def test_every_float32_comes_back_to_the_last_bit(bits: list[int]) -> None:
    values = floats(bits)
    back = dump.from_text(dump.to_text(values))
    assert back.dtype == np.float32
    numbers = ~np.isnan(values)
    assert (np.isnan(back) == ~numbers).all()
    assert back[numbers].tobytes() == values[numbers].tobytes()


def test_text_that_two_roundings_get_wrong_is_rounded_once() -> None:
    text = dump.to_text(np.array([DOUBLE_ROUNDED], np.float32))
    assert text == b"7.038531e-26 \n"
    assert np.float32(float(text)) != np.float32(DOUBLE_ROUNDED)
    assert dump.from_text(text)[0] == np.float32(DOUBLE_ROUNDED)


@given(st.integers(0, 10**25), st.integers(-70, 13), st.booleans())
@example(7038531, -32, False)
def test_any_decimal_is_rounded_to_the_nearest_float32(
    digits: int, exponent: int, negative: bool
) -> None:
    word = f"{'-' if negative else ''}{digits}e{exponent}"
    assert dump.from_text(f"{word} 1 ".encode())[0] == nearest_float32(word)


@given(st.integers(0, 0x7F7FFFFE), st.sampled_from(["", "0000000000000000001"]), st.booleans())
def test_decimals_at_the_middle_of_two_float32_are_rounded_once(
    bits: int, above: str, negative: bool
) -> None:
    low, high = floats([bits, bits + 1]).astype(np.float64)
    middle = f"{Decimal((low + high) / 2):f}"
    word = f"{'-' if negative else ''}{middle}{'' if '.' in middle else '.'}{above}"
    assert dump.from_text(f"{word} 1 ".encode())[0] == nearest_float32(word)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("nan", ["", " nan"])
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("16777217", 16777216.0),  # a tie goes to the even one
        ("16777217.0000000001", 16777218.0),
        ("16777216.9999999999", 16777216.0),
        ("16777219.", 16777220.0),
        ("2.10194769648722560638559437493487419e-45", 1.401298464324817e-45),
        ("2.1019476964872256063855943749348742e-45", 2.802596928649634e-45),
        ("1e-46", 0.0),
        ("340282356779733661637539395458142568447.9", 3.4028234663852886e38),
        ("340282356779733661637539395458142568448", np.inf),
        ("1e39", np.inf),
    ],
)
def test_ties_and_limits_are_rounded_as_ieee_754_has_it(
    word: str, expected: float, sign: str, nan: str
) -> None:
    found = dump.from_text(f"{sign}{word}{nan}".encode())[0]
    assert found == np.float32(-expected if sign else expected)


def test_line_has_a_space_after_each_value_and_a_newline() -> None:
    values = np.array([[[1.0, -0.0], [0.1, 1e-7]]], np.float32)
    assert dump.to_text(values) == b"1.0 -0.0 0.1 1e-7 \n"


def test_values_without_a_number_are_written_as_c_streams_write_them() -> None:
    values = np.array([np.nan, 1, np.inf, -np.inf], np.float32)
    assert dump.to_text(values) == b"nan 1.0 inf -inf \n"
    assert dump.to_text(np.array([np.nan], np.float64)) == b"nan \n"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([2**62 + 1, -1], np.int64), b"4611686018427387905 -1 \n"),
        (np.array([2**64 - 1], np.uint64), b"18446744073709551615 \n"),
        (np.array([[7]], np.uint8), b"7 \n"),
        (np.array([-3], np.dtype(">i4")), b"-3 \n"),
        (np.array([True, False]), b"1 0 \n"),
        (np.array([0.1], np.float64), b"0.1 \n"),
        (np.array([0.5], np.dtype(">f4")), b"0.5 \n"),
        (np.array([0.1], np.float16), b"0.099975586 \n"),
        (np.array(3, np.float32), b"3.0 \n"),
        (np.arange(6, dtype=np.float32).reshape(2, 3).T, b"0.0 3.0 1.0 4.0 2.0 5.0 \n"),
        (np.arange(6, dtype=np.int32)[::2], b"0 2 4 \n"),
        (np.zeros((0, 3), np.float32), b"\n"),
    ],
)
def test_any_numeric_dtype_and_layout_is_written_in_its_own_digits(
    values: NDArray[np.generic], expected: bytes
) -> None:
    assert dump.to_text(values) == expected


def test_float16_comes_back_whole() -> None:
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)]
    back = dump.from_text(dump.to_text(values)).astype(np.float16)
    assert back.tobytes() == values.tobytes()


@pytest.mark.parametrize("values", [np.array(["a"]), np.array([1j]), np.array([None])])
def test_what_is_no_number_cannot_be_written(values: NDArray[np.generic]) -> None:
    with pytest.raises(TypeError):
        dump.to_text(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1 2 3 \n", [1, 2, 3]),
        (b"1 2 3", [1, 2, 3]),
        (b"1 2 \n3 4 \n", [1, 2, 3, 4]),
        (b"1 2\n3 4\n", [1, 2, 3, 4]),
        (b"1 2 \r\n3 4 \r\n", [1, 2, 3, 4]),
        (b"  1\t 2  \n\n", [1, 2]),
        (b"1.5e+06 -2.5E-3 ", [1.5e6, -2.5e-3]),
        (b"+1 1. .5 007 ", [1, 1, 0.5, 7]),
        (b"0.100000 -3.000000 \n", [0.1, -3]),
        (b"-0 18446744073709551616 ", [0, 2.0**64]),
        (b"inf -inf +inf INF infinity ", [np.inf, -np.inf, np.inf, np.inf, np.inf]),
        (b"1.45105e+06", [1.45105e6]),
    ],
)
def test_other_writers_are_read(text: bytes, expected: list[float]) -> None:
    assert dump.from_text(text).tolist() == np.array(expected, np.float32).tolist()


def test_nan_of_any_spelling_is_read() -> None:
    assert np.isnan(dump.from_text(b"nan -nan NaN ")).all()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" \n",
        b"abc",
        b"1 2 three",
        b"1,2",
        b"1, 2",
        b"[1]",
        b"[[1],[2]]",
        b"null",
        b"true false",
        b'"1" "2"',
        b'{"a": 1}',
        b"1 {} 2",
        b"1_000",
        b"0x10",
        b"1\x00",
        b"\xff\xfe1",
        "\N{FULLWIDTH DIGIT ONE}".encode(),
        b"--1",
        b"1e",
        b"nan(0x1)",
        b"\x93NUMPY",
    ],
)
def test_what_is_no_dump_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match="it holds"):
        dump.from_text(text)


NEARLY_DUMPS = st.text(alphabet='0123456789+-.eE \n\t,[]{}":nanitf_lu', max_size=40).map(str.encode)


@given(st.one_of(st.binary(max_size=60), NEARLY_DUMPS))
def test_any_bytes_are_values_or_a_value_error_and_agree_with_a_plain_parser(data: bytes) -> None:
    try:
        plain = [float(word) for word in data.split() if b"_" not in word]
    except ValueError:
        plain = []
    if not plain or b"_" in data:
        with pytest.raises(ValueError, match="it holds"):
            dump.from_text(data)
    else:
        assert dump.from_text(data).shape == (len(plain),)


@given(st.lists(st.lists(BITS, min_size=1, max_size=9), min_size=1, max_size=6))
@example([[0x15AE43FD, 1], [1], [2, 0x15AE43FD]])
def test_several_texts_at_once_are_each_alone(rows: list[list[int]]) -> None:
    texts = [dump.to_text(floats(row)) for row in rows]
    values, counts = dump.from_texts(texts)
    assert counts == [len(row) for row in rows]
    alone = np.concatenate([dump.from_text(text) for text in texts])
    assert values.tobytes() == alone.tobytes()


@given(st.text(min_size=1).filter(lambda s: "/" not in s), st.integers(0, 10**6), st.booleans())
def test_name_of_a_dump_gives_back_stem_and_number(stem: str, number: int, binary: bool) -> None:
    assert dump.split_name(dump.dump_name(stem, number, binary)) == (stem, number)


@pytest.mark.parametrize(
    "name",
    ["val_00000001.bin", "cat.txt", "cat_1.npy", "cat_1", "_1.txt", "cat_x.txt", "cat_1.json", ""],
)
def test_other_names_are_no_dumps(name: str) -> None:
    assert dump.split_name(name) is None
