"""What docs/ascend.md tells, in both languages: the same, and true as far as stand-ins can say.

Every block marked `sh` is run, top to bottom, in a copy of the project in a folder whose name has a
space, with the stand-ins for CANN's tools on PATH. `/opt/npu/imagenet` stands there for some
pictures of the sample. Blocks marked `sh card` need a card, or hours; they are only read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.ascend import aipp, remedies
from pipeline.imagenet.transform import TABLES
from tests import standins
from tests.conftest import PROJECT
from tests.standins import npu_smi
from tests.test_readme import FENCE, without_comments

PAGES = ("docs/ascend.md", "docs/ascend.zh-CN.md")
KINDS = ("sh", "sh card", "text")
PICTURES = 6  # not divisible by the batch of 4 in the page


def blocks(name: str, kind: str) -> list[str]:
    """Return the fenced blocks of a page whose info string is `kind`, in order."""
    found = [
        (f"{first} {rest}".strip(), body)
        for first, rest, body in FENCE.findall((PROJECT / name).read_text())
    ]
    assert {info for info, _ in found} <= set(KINDS)
    return [body for info, body in found if info == kind]


@pytest.mark.parametrize("kind", KINDS)
def test_both_languages_show_the_same_commands_and_output(kind: str) -> None:
    english, chinese = (blocks(name, kind) for name in PAGES)
    assert english
    assert [without_comments(b) for b in english] == [without_comments(b) for b in chinese]


@pytest.mark.parametrize(
    "pattern", [r"^#+ ", r"(?<![\w.])\d+\.\d+", r"^\| ", r"^\d+\. ", r"`[^`\n]*[A-Z]\d+[^`\n]*`"]
)
def test_both_languages_have_the_same_headings_rows_and_figures(pattern: str) -> None:
    english, chinese = ((PROJECT / name).read_text() for name in PAGES)
    found = [sorted(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
    assert found[0]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    text = (PROJECT / name).read_text()
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    for target in targets:
        file, _, anchor = target.partition("#")
        page = (PROJECT / name).parent / file if file else PROJECT / name
        assert page.exists(), target
        headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_sound_shell(name: str) -> None:
    for block in blocks(name, "sh") + blocks(name, "sh card"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_the_table_of_chips_is_the_one_that_is_read() -> None:
    shown = next(block for block in blocks(PAGES[0], "text") if "NPU" in block)
    whole = npu_smi.table()
    assert all(line in whole for line in shown.splitlines())


@pytest.mark.parametrize("name", PAGES)
def test_the_numbers_of_aipp_are_those_of_the_file(name: str) -> None:
    text = (PROJECT / name).read_text()
    for number in (*aipp.subtrahends(), *aipp.factors()):
        assert number in text
    assert f"{aipp.PIXEL_BYTES:,}" in text
    assert f"{aipp.TENSOR_BYTES:,}" in text


def test_the_differences_that_the_page_states_are_the_measured_ones() -> None:
    exact = np.concatenate(TABLES)
    pixels: NDArray[Any] = np.arange(256)
    found = []
    for dtype in (np.float32, np.float16):
        shift: NDArray[Any] = np.array(aipp.subtrahends(), dtype).reshape(3, 1)
        factor: NDArray[Any] = np.array(aipp.factors(), dtype).reshape(3, 1)
        computed = (pixels.astype(dtype) - shift) * factor
        assert computed.dtype == dtype
        found.append(np.abs(computed.astype(np.float32) - exact).max())
    found.append(np.abs(exact.astype(np.float16).astype(np.float32) - exact).max())
    text = (PROJECT / PAGES[0]).read_text()
    for difference in found:
        assert f"{difference:.1e}" in text


def test_the_codes_that_the_page_explains_have_a_remedy() -> None:
    text = (PROJECT / PAGES[0]).read_text()
    for message in (
        "E10001: Value [Ascend311] for parameter [--soc_version] is invalid.",
        "E10007: [--framework] is required.",
        "EZ3003: No supported Ops kernel",
        "ModuleNotFoundError: No module named 'te'",
        "dcmi module initialize failed. ret is -8005",
        "acl open device 0 failed, ret=507033",
        "arg0 tensorsize: 1 filesize: 2 not match",
        "save out files error",
    ):
        word = re.search(r"E\w?\d{4,5}|'te'|-8005|507033|tensorsize|save out", message)
        assert word
        assert word[0] in text
        assert remedies.find(message)


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
        if (PROJECT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, clone / name)
    if (PROJECT / ".venv").exists():
        (clone / ".venv").symlink_to(PROJECT / ".venv")
    data = tmp_path / "imagenet"
    (data / "val").mkdir(parents=True)
    pictures = sorted((sample_folder / "images").iterdir())[:PICTURES]
    for picture in pictures:
        shutil.copy(picture, data / "val")
    lines = (sample_folder / "val_label.txt").read_text().splitlines(keepends=True)
    theirs = [line for line in lines if line.split(".")[0] in {p.stem for p in pictures}]
    (data / "val_label.txt").write_text("".join(theirs))
    (clone / "vovnet39_torchvision.pth").symlink_to(sample_folder / "vovnet39_sample.pth")
    tool = clone / "benchmark.x86_64"
    tool.symlink_to(standins.BIN / tool.name)

    script = "\n".join(["set -e", *blocks(PAGES[0], "sh")])
    script = script.replace("/opt/npu/imagenet", str(data))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=clone,
        env=standins.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (clone / "aipp_vovnet39.config").read_text() == aipp.text()
    scores = [(clone / f"result_{kind}.json").read_text() for kind in ("bs1", "aipp")]
    assert scores[0] == scores[1]
    for device in (0, 1):
        assert len(list((clone / f"result/dumpOutput_device{device}").iterdir())) == PICTURES
    # Its dry run names the guide's own command and makes nothing.
    atc = next(line for line in script.splitlines() if line.startswith("atc "))
    assert atc in done.stdout.splitlines()
    assert not (clone / "work").exists()
    with tarfile.open(clone / "ascend_report.tar.gz") as archive:
        names = archive.getnames()
    assert "ascend-report/npu-smi_info.txt" in names
