"""The ledger: what counts as done after a kill, after a power cut, and after damage."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ledger
from pipeline.ledger import Ledger

SESSION = {"settings": {"dtype": "float32", "shape": [3, 224, 224]}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out put"
    made.mkdir()
    return made


def fill(folder: Path, *keys: str, session: ledger.Json | None = None) -> None:
    with Ledger(folder, session or SESSION) as book:
        for key in keys:
            book.add(key, size=len(key))


def done(folder: Path, session: ledger.Json | None = None) -> dict[str, ledger.Json]:
    with Ledger(folder, session or SESSION) as book:
        return book.done


def test_what_was_added_is_done_in_the_next_run_and_in_those_after_it(folder: Path) -> None:
    fill(folder, "a", "b")
    assert done(folder) == {"a": {"size": 1}, "b": {"size": 1}}
    fill(folder, "c", "a")
    assert sorted(done(folder)) == ["a", "b", "c"]
    assert ledger.path_of(folder) == folder.parent / "out put.ledger"


def test_tuples_and_odd_names_come_back(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \n x")
    session = {"shape": (3, 4)}
    fill(folder, name, session=session)
    assert list(done(folder, session)) == [name]


def test_another_session_forgets_what_there_was(folder: Path) -> None:
    fill(folder, "a")
    assert done(folder, {"settings": "others"}) == {}
    assert done(folder) == {}, "its files may have been replaced in between"


def test_power_cut_leaves_what_was_durable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(folder, SESSION) as book:
        book.add("a")
        book.sync()
        book.add("b")
        book.sync()
        book.add("c")
    assert sorted(done(folder)) == ["a", "b", "c"]
    monkeypatch.setattr(ledger, "boot_id", lambda: "another boot")
    assert sorted(done(folder)) == ["a", "b"]
    fill(folder, "d")
    assert sorted(done(folder)) == ["a", "b", "d"]
    monkeypatch.setattr(ledger, "boot_id", lambda: "a third boot")
    assert sorted(done(folder)) == ["a", "b"]


def test_system_that_does_not_tell_its_boots_trusts_what_is_durable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_BOOT", folder / "missing")
    with Ledger(folder, SESSION) as book:
        book.add("a")
        book.sync()
        book.add("b")
    assert sorted(done(folder)) == ["a"]


def test_long_run_becomes_durable_on_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    with Ledger(folder, SESSION, clock=lambda: now) as book:
        book.add("a")
        now = ledger.BARRIER_S
        book.add("b")
        assert book._barrier is not None
        book._barrier.join()
        book.add("c")
    monkeypatch.setattr(ledger, "boot_id", lambda: "another boot")
    assert sorted(done(folder)) == ["a", "b"]


def test_failure_to_reach_the_disk_is_told_by_the_next_item(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(ledger, "sync", fail)
    now = 0.0
    with Ledger(folder, SESSION, clock=lambda: now) as book:
        now = ledger.BARRIER_S
        book.add("a")
        assert isinstance(book._barrier, threading.Thread)
        book._barrier.join()
        with pytest.raises(OSError, match="Input/output"):
            book.add("b")


def test_sync_works_here_and_names_a_missing_folder(folder: Path) -> None:
    ledger.sync(folder)
    with pytest.raises(FileNotFoundError):
        ledger.sync(folder / "missing")


def test_sync_of_its_own_and_the_kernels_both_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What stands for sync(1) here fails as told; without one the system is called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    ledger.sync(folder)
    tool = tools / "sync"
    tool.write_text("#!/bin/sh\necho \"sync: invalid option -- 'f'\" >&2; exit 1\n")
    tool.chmod(0o755)
    ledger.sync(folder)
    tool.write_text("#!/bin/sh\necho 'sync: error syncing: Input/output error' >&2; exit 1\n")
    with pytest.raises(OSError, match="has not reached the disk"):
        ledger.sync(folder)


def test_interrupted_run_does_not_wait_for_a_slow_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, synced = threading.Event(), threading.Event()

    def wait(_folder: Path) -> None:
        slow.wait(20)
        synced.set()

    monkeypatch.setattr(ledger, "sync", wait)
    now = 0.0
    with (
        pytest.raises(KeyboardInterrupt),
        Ledger(folder, SESSION, clock=lambda: now) as book,
    ):
        now = ledger.BARRIER_S
        book.add("a")
        raise KeyboardInterrupt
    assert not synced.is_set()
    assert book._barrier is not None
    slow.set()
    book._barrier.join()
    assert b"durable" not in ledger.path_of(folder).read_bytes()
    assert list(done(folder)) == ["a"]


def test_remove_forgets_all_and_may_be_repeated(folder: Path) -> None:
    fill(folder, "a")
    ledger.remove(folder)
    ledger.remove(folder)
    assert done(folder) == {}


def test_link_in_its_place_is_refused(folder: Path) -> None:
    ledger.path_of(folder).symlink_to(folder / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Ledger(folder, SESSION)
    assert not (folder / "elsewhere").exists()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=20), st.booleans())
def test_damage_costs_what_comes_after_it_and_never_adds_anything(
    tmp_path_factory: pytest.TempPathFactory, place: int, junk: bytes, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    fill(folder, *"abcdefgh")
    path = ledger.path_of(folder)
    data = path.read_bytes()
    place = min(place, len(data))
    path.write_bytes(data[:place] + junk + (b"" if cut else data[place + len(junk) :]))
    found = done(folder)
    assert "".join(found) == "abcdefgh"[: len(found)]
    assert all(facts == {"size": 1} for facts in found.values())
    fill(folder, "x")  # and what is written behind the damage can be read again
    assert "".join(done(folder)) == "".join(found) + "x"
