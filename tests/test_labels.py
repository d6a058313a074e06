"""Label files: what is read, what is refused, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.imagenet.labels import read_labels, stem_of, write_labels


def read(tmp_path: Path, content: bytes) -> dict[str, int]:
    path = tmp_path / "val label.txt"
    path.write_bytes(content)
    return read_labels(path)


def test_guides_own_form_is_read(tmp_path: Path) -> None:
    content = b"ILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000002.JPEG 970\n"
    expected = {"ILSVRC2012_val_00000001": 65, "ILSVRC2012_val_00000002": 970}
    assert read(tmp_path, content) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"a.b.jpg 3",
        b"a.jpg\t3\n",
        b"a.jpg   3  \n\n",
        b"\xef\xbb\xbfa.jpg 3\r\n",
        b"a 3\n",
        b"a.jpg 3\na.png 3\n",
    ],
)
def test_harmless_variations_read_the_same(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content) == {"a": 3}


def test_name_may_contain_spaces_and_bytes_that_are_no_utf_8(tmp_path: Path) -> None:
    assert read(tmp_path, b"my own  dog.jpg 7\n\xff.jpg 8\n") == {"my own  dog": 7, "\udcff": 8}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a.jpg 1\nb.jpg\n", "val label.txt:2: no name and label"),
        (b"a.jpg one\n", "txt:1: 'one' is no class number"),
        (b"a.jpg -1\n", "'-1' is no class number"),
        (b"a.jpg 1.0\n", "'1.0' is no class number"),
        (b"a.jpg 99999999999999999999\n", "is no class number"),
        ("a.jpg \u0663\n".encode(), "is no class number"),
        (b"a.jpg 1\nb.jpg 1\na.png 2\n", "txt:3: a has label 2 here and 1 above"),
        (b".jpg 1\n", "begins with a dot"),
        (b"a.jpg 1\nb.jpg 3 1\n", "txt:2: two numbers, 3 and 1, after the name"),
        (b"0 ./a.bin 224 224\n", "two numbers, 224 and 224"),
        (b"", "holds no label"),
        (b"\n \r\n", "holds no label"),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(PipelineError) as caught:
        read(tmp_path, content)
    assert said in str(caught.value)


@pytest.mark.parametrize("make", ["missing", "folder"])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, make: str) -> None:
    path = tmp_path / "labels.txt"
    if make == "folder":
        path.mkdir()
    with pytest.raises(PipelineError, match=r"labels\.txt cannot be read"):
        read_labels(path)


@pytest.mark.parametrize("name", ["two\nlines.jpg", " leading.jpg", "trailing ", ""])
def test_name_that_would_not_read_back_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "labels.txt"
    with pytest.raises(PipelineError):
        write_labels(path, [("a.jpg", 1), (name, 2)])
    assert not path.exists()


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(min_size=1).map(stem_of), st.integers(0, 10**6)))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, labels: dict[str, int]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    try:
        write_labels(path, [(f"{name}.JPEG", label) for name, label in labels.items()])
    except PipelineError:
        return
    if labels:
        assert read_labels(path) == labels


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    try:
        labels = read(tmp_path_factory.getbasetemp(), content)
    except PipelineError as error:
        assert "\n" not in str(error)
    else:
        assert labels


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["a.jpg 1", "b.jpg 2", "c 3", "b.png 2", " d 4", "e  5", "f 6 ", ""]))
)
def test_guides_own_form_and_the_general_one_read_alike(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    expected = {line.split()[0][0]: int(line.split()[1]) for line in lines if line}
    for end in ("", "\n", "\n\n"):
        if expected:
            content = ("\n".join(lines) + end).encode()
            assert read(tmp_path_factory.getbasetemp(), content) == expected
