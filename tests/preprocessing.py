"""`vovnet_torch_preprocess.py` for several files of tests: running it, and what it works on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from torchvision import transforms

from pipeline import record
from pipeline.imagenet import CROP, MEAN, RESIZE, STD
from tests.conftest import PROJECT
from tests.images import jpeg, noise, photo
from tests.processes import is_deaf

MANY = 160
SCRIPT = PROJECT / "vovnet_torch_preprocess.py"
CROPPED = transforms.Compose([transforms.Resize(RESIZE), transforms.CenterCrop(CROP)])
REFERENCE = transforms.Compose([CROPPED, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def preprocess(cwd: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the stage in `cwd`, with those environment variables besides."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=300,
    )


def rgb(path: Path) -> Image.Image:
    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore")
        return image.convert("RGB")


def write_pictures(folder: Path, names: str) -> None:
    for number, name in enumerate(names.split()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(noise(40, 30, number)))


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def load(folder: Path) -> record.Json:
    content = record.load(folder)
    assert content is not None
    return content


def write_many(folder: Path, count: int = MANY) -> None:
    """Write images that take a while, each with its own pixels."""
    folder.mkdir()
    data = jpeg(photo(1200, 900))
    for number in range(count):
        # A byte of the quantisation table: another picture at no cost.
        (folder / f"{number:03}.jpg").write_bytes(data[:30] + bytes([1 + number % 200]) + data[31:])


def start_slow_run(tmp_path: Path) -> subprocess.Popen[str]:
    """Start a run of many images and wait until its first output is there."""
    if not (tmp_path / "in").exists():
        write_many(tmp_path / "in")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "in", "out", "--workers", "2", "--quiet"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: any((tmp_path / "out").glob("*.bin")))
    return process


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def working(group: int) -> list[int]:
    """Return the worker processes of a run, whose command has the number of the group."""
    return [number for number in members(group) if number != group and is_deaf(number)]
