"""Preprocessing what nobody vouched for: mutated images, bombs, odd names, links, planted files."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests import mutations
from tests.images import jpeg, noise
from tests.preprocessing import load, outputs, preprocess, write_pictures

# 2,000 of them: python3 -m tests.mutations --count 2000
COUNT = int(os.environ.get("VOVNET39_MUTATIONS", "150"))
PLAIN = jpeg(noise(40, 30))


def test_every_mutated_image_is_accounted_for(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    given = mutations.mutate_images(tmp_path / "in", COUNT, seed)
    done = mutations.prepare(tmp_path / "in", tmp_path / "out", 60 + given)
    assert done.returncode == 1, done.stderr
    report = mutations.check(tmp_path / "in", tmp_path / "out")
    assert report.given == COUNT
    assert report.good, report.faults()
    assert report.done > COUNT // 20
    assert report.refused > COUNT // 20
    assert b"Traceback" not in done.stderr
    assert all(line.startswith(b"refused: ") for line in done.stderr.splitlines()), done.stderr


def test_check_of_mutated_images_sees_what_is_wrong(tmp_path: Path) -> None:
    mutations.mutate_images(tmp_path / "in", 12, 1)
    (tmp_path / "in" / "good.jpg").write_bytes(PLAIN)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"bad")
    mutations.prepare(tmp_path / "in", tmp_path / "out", 60)
    assert mutations.check(tmp_path / "in", tmp_path / "out").good
    (tmp_path / "out" / "good.bin").write_bytes(bytes(602_112))
    (tmp_path / "out" / "bad.bin").write_bytes(bytes(602_112))
    (tmp_path / "out" / ".preprocess-1.partial").touch()
    (tmp_path / "in" / "late.jpg").write_bytes(PLAIN)
    (tmp_path / "in" / "bad.jpg").write_bytes(PLAIN)
    faults = mutations.check(tmp_path / "in", tmp_path / "out").faults()
    assert sorted(faults) == [
        "left_over",
        "lost",
        "outputs_of_refused",
        "refused_in_error",
        "wrong",
    ]
    assert faults["wrong"] == ["good.jpg"]


def test_bombs_are_refused_and_take_little_time(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, data in enumerate(mutations.bombs()):
        assert len(data) < 1 << 20
        (tmp_path / "in" / f"{number:02}.jpg").write_bytes(data)
    huge = tmp_path / "in" / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    large = tmp_path / "in" / "large.jpg"
    with large.open("wb") as file:
        file.truncate(1 << 30)
    done = preprocess(tmp_path, "in", "out", "--workers", "1")
    report = mutations.check(tmp_path / "in", tmp_path / "out")
    assert report.good, report.faults()
    assert report.done <= 1  # too many pixels' worth of data after a whole picture is no harm
    assert f"refused: in/huge.jpg cannot be decoded: {1 << 40} bytes" in done.stderr
    assert "refused: in/large.jpg is no picture: no picture of a known format" in done.stderr
    assert done.stderr.count("it claims more pixels than") >= 6


def test_names_of_all_kinds_come_through(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    names = [f"{number} {name}" for number, name in enumerate(mutations.NAMES)]
    names += ["x" * 251, "-q", "$(touch oops)", "é" * 125, "a b", "\\"]
    for number, name in enumerate(names):
        (tmp_path / "in" / f"{name}.jpg").write_bytes(jpeg(noise(40, 30, number)))
    (tmp_path / "in" / "bad\n\udce9.jpg").write_bytes(b"")
    done = preprocess(tmp_path, "in", "out")
    assert set(outputs(tmp_path / "out")) == {f"{name}.bin" for name in names}
    assert done.stderr.splitlines() == [
        r"refused: in/bad\n\udce9.jpg cannot be decoded: no picture of a known format"
    ]
    again = preprocess(tmp_path, "in", "out")
    assert f"({len(names)} kept from before), 1 refused" in again.stdout


def test_name_that_a_label_file_cannot_hold_is_refused_before_any_work(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "x/a.jpg")
    (tmp_path / "in" / "x" / "b\nc.jpg").write_bytes(PLAIN)
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 1
    assert "cannot stand in a label file; rename the image\n" in done.stderr
    assert not (tmp_path / "out").exists()


def test_folder_name_that_leaves_no_room_for_its_record_is_one_line(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg")
    done = preprocess(tmp_path, "in", "o" * 250)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "File name too long: " in done.stderr


def test_links_to_files_are_followed_and_others_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere.jpg").write_bytes(PLAIN)
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    for name, leads_to in {
        "good": "../elsewhere.jpg",
        "twice": "good.jpg",
        "nowhere": "gone.jpg",
        "itself": "itself.jpg",
        "device": "/dev/zero",
        "to_pipe": "pipe.jpg",
        "kernel": "/proc/self/mem",
    }.items():
        (tmp_path / "in" / f"{name}.jpg").symlink_to(leads_to)
    done = preprocess(tmp_path, "in", "out")
    assert set(outputs(tmp_path / "out")) == {"good.bin", "twice.bin"}
    refused = {
        entry["path"]: entry["reason"] for entry in load(tmp_path / "out")["details"]["refused"]
    }
    special = "cannot be read: not a regular file"
    assert refused == {
        "in/device.jpg": special,
        "in/itself.jpg": "cannot be read: Too many levels of symbolic links",
        "in/kernel.jpg": "cannot be decoded: no picture of a known format",
        "in/nowhere.jpg": "cannot be read: No such file or directory",
        "in/pipe.jpg": special,
        "in/to_pipe.jpg": special,
    }
    assert load(tmp_path / "out")["counts"]["done"] == 2
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("link", "leads_to", "said"),
    [
        ("in/x/again", ".", "in/x/again is the folder in/x once more; remove the link"),
        ("in/x/up", "..", "once more; remove the link"),
        ("in/y", "x", "in/x/a.jpg and in/y/a.jpg would both become a.bin"),
    ],
)
def test_link_to_a_folder_that_is_listed_already_is_one_line(
    tmp_path: Path, link: str, leads_to: str, said: str
) -> None:
    write_pictures(tmp_path / "in", "x/a.jpg")
    (tmp_path / link).symlink_to(leads_to)
    (tmp_path / f"{link}2").symlink_to(leads_to)  # two of them would double with every level
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_is_written_through_a_link_that_lies_in_the_output_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "x/a.jpg y/b.jpg")
    assert preprocess(tmp_path, "in", "out").returncode == 0
    good = outputs(tmp_path / "out")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "out" / "c.bin").symlink_to(victim)
    for name in ("a.bin", "val_label.txt", ".val_label.txt.partial", ".preprocess-1.partial"):
        (tmp_path / "out" / name).unlink(missing_ok=True)
        (tmp_path / "out" / name).symlink_to(victim)
    write_pictures(tmp_path / "in", "z/c.jpg")
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 0, done.stderr
    assert victim.read_bytes() == b"precious"
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    assert {name: outputs(tmp_path / "out")[name] for name in ("a.bin", "b.bin")} == {
        name: good[name] for name in ("a.bin", "b.bin")
    }
    assert set(outputs(tmp_path / "out")) == {*good, "c.bin"}


def test_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    from pipeline import prepare_worker

    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "in.jpg").write_bytes(PLAIN)
    (tmp_path / "out").mkdir()
    temporary = str(os.getpid()).join(prepare_worker.UNFINISHED)
    (tmp_path / "out" / temporary).symlink_to(tmp_path / "victim")
    chunk = [(str(tmp_path / "in.jpg"), "in.bin")]
    answer = prepare_worker.prepare_chunk(str(tmp_path / "out"), "float32", chunk)
    assert [name for name, _, _ in answer.made] == ["in.bin"]
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "out" / "in.bin").is_symlink()


def test_hidden_link_that_leads_back_to_the_image_folder_does_no_harm(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg")
    for name in (".again", ".and_again"):  # each level down would have two more
        (tmp_path / "in" / name).symlink_to(".")
    done = preprocess(tmp_path, "in", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OK: 1 of 1 images prepared")
