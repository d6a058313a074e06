"""Where results go: what is in the way is named, and nothing of it is lost."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pipeline import atomic, places
from pipeline.errors import PipelineError


def test_a_good_place_is_taken(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    places.check_file(tmp_path / "old", [tmp_path / "input", tmp_path])
    places.check_file(tmp_path / "new")
    places.check_file(tmp_path / "a/b/new", make_parent=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "folder is a folder"),
        ("pipe", "pipe is no regular file"),
        ("missing/x", "missing does not exist"),
        ("input/x", "input is no folder"),
        ("input", "is the input"),
        ("link", "is the input"),
    ],
)
def test_a_place_that_does_not_do_is_named(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("input")
    (tmp_path / "link").symlink_to("input")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PipelineError, match=said):
        places.check_file(tmp_path / name, [tmp_path / "input"])


@pytest.mark.parametrize("name", ["file", "file/a", "file/a/b", "broken", "broken/a"])
def test_a_file_in_the_way_of_a_folder_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("file")
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(PipelineError, match=f"{name.split('/')[0]} is (no folder|a link)"):
        places.make_folder(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "file"]


def test_folders_are_made_through_links_and_where_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for _ in range(2):
        places.make_folder(tmp_path / "link/a/b")
    assert (tmp_path / "real/a/b").is_dir()


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(PipelineError, match="no regular file"):
        atomic.write_text(pipe, "content")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far/file")
    for content in ("one", "two"):
        atomic.write_text(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "far/file").read_text() == content
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["file"]


def test_an_error_names_the_file_and_not_its_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "missing/file"
    with pytest.raises(OSError) as raised:
        atomic.write_text(target, "content")
    assert raised.value.filename == str(target)
    with pytest.raises(OSError) as raised, atomic.replacing(tmp_path / "file"):
        raise OSError(27, "File too large")  # as a write says it, without a name
    assert raised.value.filename == str(tmp_path / "file")
