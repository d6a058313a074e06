"""Records beside outputs, and files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline import atomic, identity, record
from pipeline.errors import PipelineError


def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, list[str]]:
    """Make one input, one output folder and its complete record; return them and the command."""
    monkeypatch.chdir(tmp_path)
    command = [str(tmp_path / "stage.py"), "in.txt", "out"]
    monkeypatch.setattr("sys.argv", command)
    source, output = Path("in.txt"), Path("out")
    source.write_text("one")
    output.mkdir()
    run = record.Run("stage", [source], [output], {"size": 3}, packages=["numpy"])
    with record.keeping(run):
        running = record.load(output)
        assert running is not None
        assert running["status"] == "running"
        (output / "a.bin").write_bytes(b"a")
        run.counts = {"done": 1}
    return source, output, command


def test_record_of_a_finished_run_is_complete_and_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _source, output, command = make(tmp_path, monkeypatch)
    content = record.load(output)
    assert content is not None
    assert content["status"] == "complete"
    assert content["counts"] == {"done": 1}
    assert content["settings"] == {"size": 3}
    assert content["outputs"][0]["files"] == 1
    assert record.is_current(output, command)


@pytest.mark.parametrize(
    "change",
    ["input", "output", "lost", "command", "package", "status", "garbage", "schema"],
)
def test_record_is_not_current_once_something_changed(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output, command = make(tmp_path, monkeypatch)
    where = record.path_of(output)
    content = json.loads(where.read_text())
    if change == "input":
        source.write_text("two")
    elif change == "output":
        os.utime(output / "a.bin", ns=(1, 1))
    elif change == "lost":
        (output / "a.bin").unlink()
    elif change == "command":
        command = [*command, "--limit"]
    elif change == "package":
        where.write_text(json.dumps(content | {"versions": {"numpy": "0.1"}}))
    elif change == "status":
        where.write_text(json.dumps(content | {"status": "running"}))
    elif change == "garbage":
        where.write_bytes(b"{")
    elif change == "schema":
        where.write_text(json.dumps(content | {"schema": 99}))
    assert not record.is_current(output, command)


def test_failed_run_leaves_the_status_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output, _ = make(tmp_path, monkeypatch)
    with (
        pytest.raises(RuntimeError),
        record.keeping(record.Run("stage", [source], [output], {})),
    ):
        raise RuntimeError("disk on fire")
    content = record.load(output)
    assert content is not None
    assert content["status"] == "failed"
    assert "disk on fire" in content["error"]


def test_run_that_found_something_bad_is_complete_but_never_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output, command = make(tmp_path, monkeypatch)
    with record.keeping(record.Run("stage", [source], [output], {})) as run:
        run.good = False
    content = record.load(output)
    assert content is not None
    assert (content["status"], content["good"]) == ("complete", False)
    assert not record.is_current(output, command)


def test_failed_run_for_a_single_file_leaves_the_old_file_and_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").write_text("1")
    output = Path("out.onnx")
    with record.keeping(record.Run("stage", [Path("in")], [output], {})):
        atomic.write_bytes(output, b"old")
    before = record.path_of(output).read_bytes()
    with (
        pytest.raises(ValueError, match="bad"),
        record.keeping(record.Run("stage", [Path("in")], [output], {})),
        atomic.replacing(output) as temporary,
    ):
        temporary.write_bytes(b"new")
        raise ValueError("bad")
    assert output.read_bytes() == b"old"
    assert record.path_of(output).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.onnx", "out.onnx.record.json"]


def test_record_of_the_current_folder_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert record.path_of(Path()) == tmp_path / "a" / "b.record.json"
    assert record.path_of(Path("..")) == tmp_path / "a.record.json"


def test_unreadable_record_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.record.json").write_text("[1]")
    with pytest.raises(PipelineError, match=r"x\.record\.json is not a record"):
        record.load(tmp_path / "x")


def test_folder_fingerprint_sees_files_in_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "f" / "inner").mkdir(parents=True)
    (tmp_path / "f" / "inner" / "a").write_text("1")
    one = identity.fingerprint(tmp_path / "f")
    (tmp_path / "f" / "inner" / "b").write_text("2")
    two = identity.fingerprint(tmp_path / "f")
    assert one["files"] == 1
    assert two["files"] == 2
    assert one["listing_sha256"] != two["listing_sha256"]


def test_write_text_keeps_file_name_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "x", os.fsdecode(b"caf\xe9.JPEG 3\n"))
    assert (tmp_path / "x").read_bytes() == b"caf\xe9.JPEG 3\n"


def test_large_folder_has_the_same_fingerprint_by_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    for name in ("b", "a", "deeper/c"):
        (folder / name).write_text(name)
    monkeypatch.setattr(record, "_MANY", 2)
    with record.keeping(record.Run("stage", [folder], [tmp_path / "out"], {})):
        (tmp_path / "out").write_text("made")
    content = record.load(tmp_path / "out")
    assert content is not None
    assert content["inputs"] == [identity.fingerprint(folder)]
    assert content["inputs"][0]["files"] == 3
