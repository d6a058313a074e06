"""Preprocessing that goes on where it was: after kills, after changes, and anew when asked to."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from pipeline import ledger
from tests.images import jpeg, noise
from tests.preprocessing import (
    MANY,
    load,
    members,
    outputs,
    preprocess,
    start_slow_run,
    wait_for,
    working,
    write_many,
    write_pictures,
)


def kept(text: str) -> int:
    """Return how many images a verdict says were kept."""
    found = re.search(r"prepared \((\d+) kept from before\)", text)
    return int(found[1]) if found else 0


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def changed(before: dict[str, int], folder: Path) -> set[str]:
    """Return the files that were written, or removed, since."""
    now = times(folder)
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def test_killed_at_any_moment_it_goes_on_and_ends_as_if_undisturbed(tmp_path: Path) -> None:
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "killed").mkdir()
    write_many(tmp_path / "killed" / "in")
    (tmp_path / "undisturbed" / "in").symlink_to(tmp_path / "killed" / "in")
    assert preprocess(tmp_path / "undisturbed", "in", "out").returncode == 0
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    had: list[int] = []
    for end in (signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
        before = times(tmp_path / "killed" / "out") if had else {}
        process = start_slow_run(tmp_path / "killed")
        time.sleep(dice.uniform(0.3, 1.0))
        os.kill(process.pid, end)
        process.communicate(timeout=60)
        wait_for(lambda group=process.pid: not members(group))  # type: ignore[misc]
        had.append(len(ledger.path_of(tmp_path / "killed" / "out").read_bytes().splitlines()))
        if had[1:] and had[-2] > 40:
            untouched = before.keys() - changed(before, tmp_path / "killed" / "out")
            assert untouched, "all was made anew"
    done = preprocess(tmp_path / "killed", "in", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"OK: {MANY} of {MANY} images prepared")
    assert kept(done.stdout) > 0
    assert outputs(tmp_path / "killed" / "out") == outputs(tmp_path / "undisturbed" / "out")
    counts = load(tmp_path / "killed" / "out")["counts"]
    assert (counts["done"], counts["kept"]) == (MANY, kept(done.stdout))


def test_second_run_makes_only_what_has_changed(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", " ".join(f"{n}/{n}{m}.jpg" for n in "abc" for m in range(9)))
    first = preprocess(tmp_path, "in", "out")
    assert first.returncode == 0
    assert kept(first.stdout) == 0
    before = times(tmp_path / "out")
    again = preprocess(tmp_path, "in", "out")
    assert again.stdout.startswith("OK: 27 of 27 images prepared (27 kept from before), float32, ")
    assert "images/s" not in again.stdout
    assert changed(before, tmp_path / "out") == {"val_label.txt"}
    for name, seed in (("a/a1.jpg", 70), ("c/new.jpg", 71)):
        (tmp_path / "in" / name).write_bytes(jpeg(noise(40, 30, seed)))
    (tmp_path / "in" / "b" / "b2.jpg").unlink()
    os.utime(tmp_path / "in" / "b" / "b3.jpg")
    (tmp_path / "out" / "b4.bin").write_bytes(b"somebody's")
    (tmp_path / "out" / "b5.bin").unlink()
    third = preprocess(tmp_path, "in", "out")
    assert third.stdout.startswith("OK: 27 of 27 images prepared (22 kept from before)")
    expected = {"a1.bin", "new.bin", "b2.bin", "b3.bin", "b4.bin", "b5.bin", "val_label.txt"}
    assert changed(before, tmp_path / "out") == expected
    assert preprocess(tmp_path, "in", "anew").returncode == 0
    assert outputs(tmp_path / "anew") == outputs(tmp_path / "out")


def test_output_of_the_same_size_that_somebody_wrote_over_is_made_again(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    assert preprocess(tmp_path, "in", "out").returncode == 0
    good = outputs(tmp_path / "out")
    (tmp_path / "out" / "a.bin").write_bytes(bytes(602_112))
    assert kept(preprocess(tmp_path, "in", "out").stdout) == 1
    assert outputs(tmp_path / "out") == good


@pytest.mark.parametrize(
    "arguments", ["in out --force", "in out --dtype uint8", "other out"], ids=str.split
)
def test_another_kind_of_run_makes_all_anew(tmp_path: Path, arguments: str) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    write_pictures(tmp_path / "other", "b.jpg a.jpg")
    for name in ("a.jpg", "b.jpg"):  # the same sizes and times, and other pixels
        data = (tmp_path / "in" / name).read_bytes()
        (tmp_path / "other" / name).write_bytes(data[:30] + bytes([data[30] + 1]) + data[31:])
        status = (tmp_path / "in" / name).stat()
        os.utime(tmp_path / "other" / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert preprocess(tmp_path, "in", "out").returncode == 0
    before = times(tmp_path / "out")
    done = preprocess(tmp_path, *arguments.split())
    assert done.stdout.startswith("OK: 2 of 2 images prepared, ")
    assert changed(before, tmp_path / "out") == {"a.bin", "b.bin"}


def test_limit_makes_no_other_run_of_it(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg c.jpg")
    assert preprocess(tmp_path, "in", "out", "--limit", "2").returncode == 0
    assert kept(preprocess(tmp_path, "in", "out").stdout) == 2
    assert kept(preprocess(tmp_path, "in", "out", "--limit", "1").stdout) == 1
    assert set(outputs(tmp_path / "out")) == {"a.bin"}


def test_refused_image_is_tried_again_and_the_others_are_kept(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    good = (tmp_path / "in" / "a.jpg").read_bytes()
    (tmp_path / "in" / "a.jpg").write_bytes(good[:100])
    assert "1 of 2 images prepared, 1 refused" in preprocess(tmp_path, "in", "out").stdout
    again = preprocess(tmp_path, "in", "out")
    assert "1 of 2 images prepared (1 kept from before), 1 refused" in again.stdout
    assert again.returncode == 1
    (tmp_path / "in" / "a.jpg").write_bytes(good)
    assert "OK: 2 of 2 images prepared (1 kept from before)" in (
        preprocess(tmp_path, "in", "out").stdout
    )


def test_times_that_no_clock_shows_do_not_matter(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    os.utime(tmp_path / "in" / "a.jpg", ns=(0, -(10**18)))
    os.utime(tmp_path / "in" / "b.jpg", ns=(0, 4 * 10**18))
    assert preprocess(tmp_path, "in", "out").returncode == 0
    os.utime(tmp_path / "out" / "a.bin", ns=(0, 1))  # the clock has jumped while it was written
    assert kept(preprocess(tmp_path, "in", "out").stdout) == 1
    assert kept(preprocess(tmp_path, "in", "out").stdout) == 2


def test_temporary_files_of_a_killed_run_go_with_the_next_one(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg")
    (tmp_path / "out").mkdir()
    for name in (".preprocess-123.partial", ".val_label.txt.partial"):
        (tmp_path / "out" / name).write_bytes(b"half")
    assert preprocess(tmp_path, "in", "out").returncode == 0
    assert set(outputs(tmp_path / "out")) == {"a.bin"}


def test_ctrl_c_says_how_far_it_came_and_the_counts_close(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    wait_for(lambda: len(list((tmp_path / "out").glob("*.bin"))) > 50)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the run
    _, errors = process.communicate(timeout=60)
    seconds = time.monotonic() - started
    print(f"ended after {seconds:.2f} s")
    assert process.returncode == 130
    content = load(tmp_path / "out")
    counts = content["counts"]
    assert f"{counts['done']} of {MANY} images are prepared; " in errors
    assert (content["status"], counts["given"]) == ("failed", MANY)
    assert counts["done"] + counts["refused"] + counts["not_done"] == MANY
    assert 0 < counts["done"] < MANY
    assert kept(preprocess(tmp_path, "in", "out").stdout) == counts["done"]


def test_killed_worker_ends_the_run_and_what_was_complete_is_kept(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    wait_for(lambda: len(list((tmp_path / "out").glob("*.bin"))) > 50)
    os.kill(working(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    counts = load(tmp_path / "out")["counts"]
    assert f"({counts['done']} of {MANY} images are prepared)" in errors
    assert counts["done"] + counts["not_done"] == MANY
    again = preprocess(tmp_path, "in", "out")
    assert again.returncode == 0
    assert kept(again.stdout) == counts["done"] > 0
