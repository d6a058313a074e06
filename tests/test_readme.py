"""What the two READMEs tell: the same, and true.

Every block marked `sh` is run, top to bottom, in a copy of the project in a folder whose name has a
space. `/opt/npu/imagenet` stands there for the sample. Blocks marked `sh card` need an Ascend card
and `sh tests` is the very command that runs this; they are only read. `sh judged` must fail here in
just the way that the text above it says, for the sample's network was never trained. `sh long`
takes hours or minutes; its commands are told apart here, and each has tests of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh-CN.md")
FENCE = re.compile(r"^```(\S*)[ ]?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = "text"
PICTURES = 96  # enough to calibrate on


def blocks(name: str, kind: str) -> list[str]:
    """Return the fenced blocks of a README whose info string is `kind`, in order."""
    text = (PROJECT / name).read_text()
    found = [(f"{first} {rest}".strip(), body) for first, rest, body in FENCE.findall(text)]
    return [body for info, body in found if info == kind]


def without_comments(block: str) -> str:
    return "\n".join(line.split("  #")[0].rstrip() for line in block.splitlines())


@pytest.mark.parametrize("kind", ["sh", "sh card", "sh tests", "sh judged", "sh long", PRINTED])
def test_both_languages_show_the_same_commands_and_output(kind: str) -> None:
    english, chinese = (blocks(name, kind) for name in READMES)
    assert english, kind
    assert [without_comments(b) for b in english] == [without_comments(b) for b in chinese]


def test_both_languages_have_the_same_headings_and_figures() -> None:
    english, chinese = ((PROJECT / name).read_text() for name in READMES)
    for pattern in (r"^#+ ", r"(?<![\w.])\d+\.\d+"):
        counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], pattern


@pytest.mark.parametrize("name", READMES)
def test_links_within_the_project_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", (PROJECT / name).read_text())
    assert targets
    for target in targets:
        assert (PROJECT / target).exists(), target


@pytest.mark.parametrize("name", READMES)
@pytest.mark.parametrize("kind", ["sh", "sh card", "sh tests", "sh judged", "sh long"])
def test_every_block_is_sound_shell(name: str, kind: str, tmp_path: Path) -> None:
    for block in blocks(name, kind):
        script = tmp_path / "block.sh"
        script.write_text("#!/bin/bash\n" + block)
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_test_command_is_the_one_that_runs_here() -> None:
    (block,) = blocks("README.md", "sh tests")
    command = block.strip()
    assert (PROJECT / command).is_file()
    assert command.removeprefix("./") in (PROJECT / ".ci/run").read_text()


def test_each_long_command_knows_its_options() -> None:
    (block,) = blocks("README.md", "sh long")
    for line in block.splitlines():
        words = line.split()
        assert words[0] == "python3"
        options = [word for word in words if word.startswith("--")]
        command = [sys.executable, *words[1:3], "--help"]
        told = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        assert all(option in told.stdout for option in options), line


@pytest.mark.slow
@pytest.mark.sample
def test_every_command_runs_as_it_stands(sample_folder: Path, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, clone / name)
    if (PROJECT / ".venv").exists():
        (clone / ".venv").symlink_to(PROJECT / ".venv")
    data = tmp_path / "imagenet"
    (data / "val").mkdir(parents=True)
    for picture in sorted((sample_folder / "images").iterdir())[:PICTURES]:
        shutil.copy(picture, data / "val")
    shutil.copy(sample_folder / "val_label.txt", data)
    (clone / "vovnet39_torchvision.pth").symlink_to(sample_folder / "vovnet39_sample.pth")

    run = blocks("README.md", "sh")
    (judged,) = blocks("README.md", "sh judged")
    script = "\n".join(["set -e", *run, f"! {judged.strip()}"])
    script = script.replace("/opt/npu/imagenet", str(data))
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=clone,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = [(clone / f"result{kind}.json").read_text() for kind in ("", "_uint8")]
    assert results[0] == results[1]
    assert "judges nothing" in done.stdout + done.stderr
    reported = [line for line in done.stdout.splitlines() if "batch" in line and "Top1" in line]
    assert reported, "run_all.sh has no table"
